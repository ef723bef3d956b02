package shape

// Beside each rule is where its format is described. Where the service says
// little, the format is the one that its keys are seen to have: "github" is
// docs.github.com/code-security/secret-scanning, whose partners register theirs,
// "gitleaks" the list that github.com/gitleaks/gitleaks keeps.

// table returns the rules.
func table() []Rule {
	return append([]Rule{
		// docs.anthropic.com/en/api/admin-api; api, admin, oat, ort and sid keys.
		{ID: "anthropic-api-key", What: "Anthropic API key or token", literals: []string{"sk-ant-"},
			pattern: `sk-ant-[a-z0-9]{2,10}-[\w-]{24,}`, check: random(3.2)},
		// platform.openai.com/docs/api-reference/authentication; the first form has T3BlbkFJ ("OpenAI") in it.
		{ID: "openai-api-key", What: "OpenAI API key", literals: []string{"sk-"},
			pattern: `sk-(?:(?:proj|svcacct|admin|None)-[\w-]{20,}|[A-Za-z0-9]{48})`, check: random(3.2)},
		// openrouter.ai/docs/api-reference/authentication
		{ID: "openrouter-api-key", What: "OpenRouter API key", literals: []string{"sk-or-v1-"},
			pattern: `sk-or-v1-[0-9a-f]{64}`, check: random(3)},
		// DeepSeek, Moonshot, LiteLLM, Langfuse and others have followed OpenAI.
		{ID: "sk-api-key", What: "API key that begins with sk-", literals: []string{"sk-"},
			pattern: `sk-[A-Za-z0-9][\w-]{18,}`, check: all(mixed, jumpy, random(3.3)), vague: 1},
		// console.groq.com/docs/quickstart; github
		{ID: "groq-api-key", What: "Groq API key", literals: []string{"gsk_"}, pattern: `gsk_[A-Za-z0-9]{48,56}`, check: random(3.5)},
		// docs.x.ai/docs/overview; github
		{ID: "xai-api-key", What: "xAI API key", literals: []string{"xai-"}, pattern: `xai-[A-Za-z0-9]{70,90}`, check: random(3.5)},
		// docs.perplexity.ai/guides/getting-started; github
		{ID: "perplexity-api-key", What: "Perplexity API key", literals: []string{"pplx-"}, pattern: `pplx-[A-Za-z0-9]{40,64}`,
			check: random(3.3)},
		// replicate.com/docs/reference/http; github
		{ID: "replicate-api-token", What: "Replicate API token", literals: []string{"r8_"}, pattern: `r8_[A-Za-z0-9]{37}`, check: random(3.3)},
		// huggingface.co/docs/hub/security-tokens
		{ID: "huggingface-token", What: "Hugging Face token", literals: []string{"hf_", "api_org_"},
			pattern: `(?:hf|api_org)_[A-Za-z0-9]{34,40}`, check: random(3.3)},
		// docs.smith.langchain.com/administration; gitleaks
		{ID: "langsmith-api-key", What: "LangSmith API key", literals: []string{"lsv2_"}, pattern: `lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}`,
			check: random(3)},

		// github.blog/2021-04-05-behind-githubs-new-authentication-token-formats
		{ID: "github-token", What: "GitHub token", literals: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"},
			pattern: `gh[pousr]_[A-Za-z0-9]{36,}`, check: summed},
		// github.blog/changelog/2022-10-18-introducing-fine-grained-personal-access-tokens
		{ID: "github-fine-grained-token", What: "GitHub fine-grained token", literals: []string{"github_pat_"},
			pattern: `github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}`, check: random(3.5)},
		// docs.gitlab.com/security/tokens/#token-prefixes
		{ID: "gitlab-token", What: "GitLab token",
			literals: []string{"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-", "glffct-"},
			pattern:  `gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[\w-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?`, check: random(3)},
		// support.atlassian.com/bitbucket-cloud/docs/api-tokens, /atlassian-account/docs/manage-api-tokens; github
		{ID: "atlassian-token", What: "Atlassian or Bitbucket token", literals: []string{"ATATT3", "ATCTT3", "ATBB"},
			pattern: `(?:AT[AC]TT3[\w=-]{60,}|ATBB[A-Za-z0-9_=.-]{24,60})`, check: random(3.3)},
		// linear.app/developers/graphql; github
		{ID: "linear-api-key", What: "Linear API key", literals: []string{"lin_api_", "lin_oauth_"},
			pattern: `lin_(?:api|oauth)_[A-Za-z0-9]{40,64}`, check: random(3.3)},
		// developers.notion.com/changelog (2024-09: ntn_)
		{ID: "notion-token", What: "Notion token", literals: []string{"ntn_", "secret_"},
			pattern: `(?:ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{43})`, check: all(mixed, random(3.5))},
		// www.figma.com/developers/api#access-tokens; gitleaks
		{ID: "figma-token", What: "Figma token", literals: []string{"figd_"}, pattern: `figd_[\w-]{38,60}`, check: random(3.3)},
		// learning.postman.com/docs/developer/postman-api/authentication; github
		{ID: "postman-api-key", What: "Postman API key", literals: []string{"PMAK-"}, pattern: `PMAK-[0-9a-f]{24}-[0-9a-f]{34}`,
			check: random(3)},

		// api.slack.com/concepts/token-types
		{ID: "slack-token", What: "Slack token",
			literals: []string{"xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxp-", "xoxr-", "xoxs-", "xoxc-", "xoxd-", "xapp-"},
			pattern:  `(?:xox[abceprsd]-[A-Za-z0-9%-]{16,}|xoxe\.xox[bp]-\d-[A-Za-z0-9-]{30,}|xapp-\d-[A-Z0-9]{6,20}-\d{6,20}-[a-z0-9]{30,})`, check: all(digits, random(3))},
		// api.slack.com/messaging/webhooks
		{ID: "slack-webhook", What: "Slack webhook", literals: []string{"hooks.slack.com/"},
			pattern: `hooks\.slack\.com/(?:services|workflows|triggers)/([A-Z0-9]{8,14}/(?:[A-Z0-9]{8,14}|\d+)/[A-Za-z0-9/]{20,60})`, check: random(3)},
		// discord.com/developers/docs/resources/webhook
		{ID: "discord-webhook", What: "Discord webhook", literals: []string{"discord.com/api/", "discordapp.com/api/"},
			pattern: `discord(?:app)?\.com/api/(?:v\d+/)?webhooks/(\d{17,20}/[\w-]{60,80})`, check: random(3)},
		// discord.com/developers/docs/reference#authentication: the bot's id in base64, a time, a signature.
		{ID: "discord-bot-token", What: "Discord bot token", literals: base64Digits(),
			pattern: `(?:M[Tjz]|N[DTjz]|O[DT])[AEIMQUYcgk][A-Za-z0-9]{21,25}\.[\w-]{6}\.[\w-]{27,38}`, check: random(3.5)},
		// core.telegram.org/bots/api#authorizing-your-bot
		{ID: "telegram-bot-token", What: "Telegram bot token", literals: []string{":AA"}, find: telegram, check: random(3)},
		// www.twilio.com/docs/iam/api-keys: the account's id is not secret by itself, and what a scan is for.
		{ID: "twilio-key", What: "Twilio key or account", literals: append(hexAfter("SK"), hexAfter("AC")...),
			pattern: `(?:SK|AC)[0-9a-f]{32}`, check: all(mixed, random(3))},
		// www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys; github
		{ID: "sendgrid-api-key", What: "SendGrid API key", literals: []string{"SG."}, pattern: `SG\.[\w-]{22}\.[\w-]{43}`, check: random(3.5)},
		// documentation.mailgun.com/docs/mailgun/api-reference/authentication; gitleaks
		{ID: "mailgun-api-key", What: "Mailgun API key", literals: []string{"key-"}, pattern: `key-[0-9a-f]{32}`, check: all(mixed, random(3))},
		// mailchimp.com/developer/marketing/docs/fundamentals: the data centre is the end.
		{ID: "mailchimp-api-key", What: "Mailchimp API key",
			literals: []string{"-us1", "-us2", "-us3", "-us4", "-us5", "-us6", "-us7", "-us8", "-us9"}, find: mailchimp,
			check: all(mixed, random(3))},
		// developers.brevo.com/docs/getting-started; gitleaks
		{ID: "brevo-api-key", What: "Brevo API key", literals: []string{"xkeysib-", "xsmtpsib-"},
			pattern: `x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}`, check: random(3)},
		// resend.com/docs/api-reference/introduction
		{ID: "resend-api-key", What: "Resend API key", literals: []string{"re_"}, pattern: `re_[A-Za-z0-9]{6,12}_[A-Za-z0-9]{20,28}`,
			check: all(mixed, upper, random(3.5))},

		// docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
		{ID: "aws-access-key-id", What: "AWS access key id", literals: []string{"AKIA", "ASIA", "ABIA", "ACCA"},
			pattern: `A(?:KI|SI|BI|CC)A[A-Z2-7]{16}`, check: awsID},
		{ID: "aws-secret-access-key", What: "AWS secret access key", literals: []string{"AKIA", "ASIA"}, find: awsSecret,
			check: all(mixed, upper, random(4))},
		// docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html; github
		{ID: "aws-bedrock-api-key", What: "Amazon Bedrock API key", literals: []string{"ABSK", "bedrock-api-key-"},
			longest: 2 << 10, pattern: `(?:ABSK[A-Za-z0-9+/]{100,}={0,2}|bedrock-api-key-[A-Za-z0-9+/=_-]{60,})`, check: random(3.5)},
		// cloud.google.com/docs/authentication/api-keys
		{ID: "google-api-key", What: "Google API key", literals: []string{"AIza"}, pattern: `AIza[\w-]{35}`, check: all(digits, random(3.5))},
		// developers.google.com/identity/protocols/oauth2
		{ID: "google-oauth-token", What: "Google OAuth token", literals: []string{"ya29.", "1//0"},
			longest: 2 << 10, pattern: `(?:ya29\.[\w-]{30,}|1//0[\w-]{40,})`, check: all(mixed, random(3.5))},
		{ID: "google-oauth-client-secret", What: "Google OAuth client secret", literals: []string{"GOCSPX-"}, pattern: `GOCSPX-[\w-]{28}`,
			check: random(3.3)},
		// learn.microsoft.com/purview/sit-defn-azure-ad-client-secret
		{ID: "azure-client-secret", What: "Azure client secret", literals: []string{"7Q~", "8Q~"}, find: azure, check: all(mixed, random(3.5))},
		// docs.digitalocean.com/reference/api/create-personal-access-token
		{ID: "digitalocean-token", What: "DigitalOcean token", literals: []string{"dop_v1_", "doo_v1_", "dor_v1_"},
			pattern: `do[opr]_v1_[0-9a-f]{64}`, check: random(3)},
		// docs.databricks.com/dev-tools/auth/pat.html
		{ID: "databricks-token", What: "Databricks token", literals: []string{"dapi", "dose"}, pattern: `(?:dapi|dose)[0-9a-f]{32}(?:-\d)?`,
			check: all(mixed, random(3))},
		// developers.cloudflare.com/fundamentals/api/get-started/ca-keys
		{ID: "cloudflare-origin-ca-key", What: "Cloudflare origin CA key", literals: []string{"v1.0-"},
			pattern: `v1\.0-[0-9a-f]{24}-[0-9a-f]{146}`},
		// fly.io/docs/security/tokens
		{ID: "fly-token", What: "Fly.io token", literals: []string{"fo1_", "fm1_", "fm1a_", "fm2_"}, longest: 2 << 10,
			pattern: `f(?:o1|m1a?|m2)_[A-Za-z0-9+/_=-]{40,}`, check: all(mixed, random(3.5))},
		// devcenter.heroku.com/changelog-items/2842
		{ID: "heroku-api-key", What: "Heroku API key", literals: []string{"HRKU-"}, pattern: `HRKU-[\w-]{36,70}`, check: random(3)},
		// developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes
		{ID: "vault-token", What: "Vault or OpenBao token", literals: []string{"hvs.", "hvb.", "hvr."}, longest: 2 << 10,
			pattern: `hv[sbr]\.[\w-]{24,}`, check: all(mixed, random(3.5))},
		// developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens
		{ID: "terraform-token", What: "Terraform token", literals: []string{".atlasv1."}, find: terraform, check: random(3.5)},
		// www.pulumi.com/docs/iac/operations/access-tokens; github
		{ID: "pulumi-token", What: "Pulumi token", literals: []string{"pul-"}, pattern: `pul-[0-9a-f]{40}`, check: random(3)},
		// docs.doppler.com/docs/auth-token-formats
		{ID: "doppler-token", What: "Doppler token", literals: []string{"dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."},
			pattern: `dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{40,44}`, check: random(3.3)},
		// developer.1password.com/docs/service-accounts
		{ID: "onepassword-token", What: "1Password service account token", literals: []string{"ops_eyJ"}, longest: 2 << 10,
			pattern: `ops_eyJ[A-Za-z0-9+/_-]{100,}={0,2}`},
		// developer.1password.com/docs/secret-key
		{ID: "onepassword-secret-key", What: "1Password secret key", literals: []string{"A3-"},
			pattern: `A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}`, check: all(digits, random(3.3))},
		// tailscale.com/kb/1085/auth-keys
		{ID: "tailscale-key", What: "Tailscale key", literals: []string{"tskey-"},
			pattern: `tskey-[a-z]{2,12}-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,40}`, check: all(mixed, random(3.3))},
		// planetscale.com/docs/concepts/password-roles; github
		{ID: "planetscale-token", What: "PlanetScale token or password", literals: []string{"pscale_tkn_", "pscale_pw_", "pscale_oauth_"},
			pattern: `pscale_(?:tkn|pw|oauth)_[\w.=-]{32,64}`, check: random(3.3)},
		// supabase.com/docs/guides/api/api-keys
		{ID: "supabase-key", What: "Supabase key", literals: []string{"sbp_", "sb_secret_"},
			pattern: `(?:sbp_[0-9a-f]{40}|sb_secret_[\w-]{24,60})`, check: all(mixed, random(3))},
		// grafana.com/docs/grafana/latest/administration/service-accounts
		{ID: "grafana-token", What: "Grafana token", literals: []string{"glsa_", "glc_"},
			pattern: `(?:glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,}={0,2})`, check: random(3.3)},
		// docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys
		{ID: "newrelic-key", What: "New Relic key", literals: []string{"NRAK-", "NRII-", "NRJS-"},
			pattern: `NR(?:AK-[A-Z0-9]{27}|II-[A-Za-z0-9_-]{32}|JS-[0-9a-f]{19})`, check: random(3)},
		// docs.sentry.io/api/auth; blog.sentry.io (2023: prefixes)
		{ID: "sentry-token", What: "Sentry token", literals: []string{"sntrys_", "sntryu_"}, longest: 2 << 10,
			pattern: `(?:sntrys_eyJ[A-Za-z0-9+/=_-]{80,}|sntryu_[0-9a-f]{64})`},
		// docs.sentry.io/concepts/key-terms/dsn-explainer
		{ID: "sentry-dsn", What: "Sentry DSN", literals: []string{"http://", "https://"},
			pattern: `https?://([0-9a-f]{32}(?::[0-9a-f]{32})?)@[\w.-]*sentry[\w.-]*(?::\d+)?/\d+`, check: all(mixed, random(3))},
		// docs.dynatrace.com/docs/manage/access-control/access-tokens
		{ID: "dynatrace-token", What: "Dynatrace token", literals: []string{"dt0c", "dt0s"},
			pattern: `dt0[cs]\d\d\.[A-Z0-9]{8,24}\.[A-Z0-9]{64}`, check: random(3)},
		// buildkite.com/docs/apis/managing-api-tokens; github
		{ID: "buildkite-token", What: "Buildkite token", literals: []string{"bkua_"}, pattern: `bkua_[0-9a-f]{40}`, check: random(3)},
		// sourcegraph.com/docs/cli/how-tos/creating_an_access_token
		{ID: "sourcegraph-token", What: "Sourcegraph token", literals: []string{"sgp_"}, pattern: `sgp_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40}`,
			check: random(3)},

		// github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format
		{ID: "npm-token", What: "npm token", literals: []string{"npm_"}, pattern: `npm_[A-Za-z0-9]{36}`, check: summed},
		// pypi.org/help/#apitoken; a macaroon whose location is pypi.org or test.pypi.org
		{ID: "pypi-token", What: "PyPI token", literals: []string{"pypi-AgE"}, longest: 2 << 10,
			pattern: `pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZ)[\w-]{40,}`, check: random(3.3)},
		// guides.rubygems.org/api-key-scopes; github
		{ID: "rubygems-key", What: "RubyGems key", literals: []string{"rubygems_"}, pattern: `rubygems_[0-9a-f]{48}`, check: random(3)},
		// crates.io (src/util/token.rs)
		{ID: "crates-token", What: "crates.io token", literals: []string{"cio"}, pattern: `cio[A-Za-z0-9]{32}`,
			check: all(mixed, upper, random(3.8))},
		// learn.microsoft.com/nuget/nuget-org/publish-a-package; github
		{ID: "nuget-key", What: "NuGet key", literals: []string{"oy2"}, pattern: `oy2[a-z0-9]{43}`, check: all(mixed, random(3.5))},
		// docs.docker.com/security/access-tokens
		{ID: "docker-token", What: "Docker Hub token", literals: []string{"dckr_pat_", "dckr_oat_"}, pattern: `dckr_[po]at_[\w-]{27,36}`,
			check: random(3.3)},

		// docs.stripe.com/keys
		{ID: "stripe-key", What: "Stripe key", literals: []string{"sk_live_", "rk_live_", "sk_test_", "rk_test_"},
			pattern: `[rs]k_(?:live|test)_[A-Za-z0-9]{16,}`, check: random(3)},
		// docs.stripe.com/webhooks/signature; also Svix, Clerk
		{ID: "webhook-signing-secret", What: "webhook signing secret", literals: []string{"whsec_"}, pattern: `whsec_[A-Za-z0-9+/]{24,80}={0,2}`,
			check: all(mixed, random(3.5))},
		// shopify.dev/docs/apps/build/authentication-authorization
		{ID: "shopify-token", What: "Shopify token", literals: []string{"shpat_", "shpca_", "shppa_", "shpss_"},
			pattern: `shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}`, check: random(3)},
		// developer.squareup.com/docs/build-basics/access-tokens; gitleaks
		{ID: "square-token", What: "Square token", literals: []string{"sq0atp-", "sq0csp-", "EAAAE", "EAAAl"},
			pattern: `(?:sq0atp-[\w-]{22}|sq0csp-[\w-]{43}|EAAA[El][\w-]{59})`, check: all(mixed, random(3.5))},
		// developer.paypal.com/braintree/articles; github
		{ID: "braintree-token", What: "Braintree or PayPal token", literals: []string{"access_token$"},
			pattern: `access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}`},
		// dropbox.tech/developers (2021: short-lived tokens)
		{ID: "dropbox-token", What: "Dropbox token", literals: []string{"sl.u.", "sl.B"}, longest: 2 << 10, pattern: `sl\.(?:u\.|B)[\w-]{99,}`,
			check: random(4)},
		// airtable.com/developers/web/api/authentication
		{ID: "airtable-token", What: "Airtable token", literals: []string{"pat"}, pattern: `pat[A-Za-z0-9]{14}\.[0-9a-f]{64}`,
			check: random(3.3)},

		// RFC 7519: base64url of {"…, twice, and a signature; RFC 7516 has five parts.
		{ID: "jwt", What: "JSON Web Token", literals: []string{"eyJ"}, find: jwt},
		// RFC 7468, PROTOCOL.key of OpenSSH, RFC 1421, RFC 4880
		{ID: "private-key", What: "private key", literals: []string{"-----BEGIN "}, find: pem},
		// putty.org.uk: the ppk format, appendix C of its manual
		{ID: "putty-private-key", What: "PuTTY private key", literals: []string{"Private-Lines: "}, longest: 6 << 10,
			pattern: `Private-Lines: \d+\r?\n((?:[A-Za-z0-9+/=]{4,64}\r?\n){1,})`},
		// C2SP.org/age, age-plugin, age's post-quantum identities
		{ID: "age-secret-key", What: "age secret key", literals: []string{"AGE-SECRET-KEY-", "AGE-PLUGIN-"}, fold: true,
			pattern: `(?i:AGE-SECRET-KEY-(?:PQ-)?1[02-9AC-HJ-NP-Z]{58,}|AGE-PLUGIN-[A-Z0-9-]{2,32}-1[02-9AC-HJ-NP-Z]{20,})`, check: random(3.5)},
		// www.wireguard.com: 32 bytes in base64 after PrivateKey or PresharedKey
		{ID: "wireguard-key", What: "WireGuard key", literals: []string{"PrivateKey", "PresharedKey"},
			pattern: `P(?:rivate|reshared)Key[ \t]*=[ \t]*([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)`, check: random(3.8)},

		// RFC 6750, RFC 7617 and what sends them
		{ID: "bearer-token", What: "bearer token", literals: []string{"Bearer ", "Token "}, fold: true, find: bearer, vague: 1},
		{ID: "basic-auth", What: "user and password of a Basic header", literals: []string{"Basic "}, fold: true, find: basic},
		// docs.docker.com/reference/cli/docker/login: "auth" is base64 of user:password; npm's _auth too
		{ID: "registry-auth", What: "user and password for a registry", literals: []string{`"auth"`, "_auth"}, find: registryAuth},
		// kubernetes.io/docs/reference/config-api/kubeconfig.v1
		{ID: "kubeconfig-key", What: "client key of a kubeconfig", literals: []string{"client-key-data"}, find: kubeconfigKey},
		// RFC 3986, 3.2.1
		{ID: "url-password", What: "password in a URL", literals: []string{"://"}, find: urlPassword, vague: 1},
		// gnu.org/software/inetutils/manual: the .netrc file
		{ID: "netrc-password", What: "password of a .netrc", literals: []string{"machine "}, find: netrc, vague: 1},
		// curl.se/docs/manpage.html#-u
		{ID: "curl-user", What: "user and password of a command", literals: []string{"curl ", "wget "}, find: commandUser, vague: 1},
	}, assignments()...)
}

// base64Digits returns the base64 of all numbers' first two digits: how the
// encoded id of a Discord bot begins.
func base64Digits() (all []string) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for tens := '1'; tens <= '9'; tens++ {
		for ones := '0'; ones <= '9'; ones++ {
			all = append(all, string([]byte{alphabet[tens>>2], alphabet[tens&3<<4|ones>>4], alphabet[ones&15<<2]}))
		}
	}
	return all
}

// hexAfter returns a prefix too short for the gate with every digit after it.
func hexAfter(prefix string) (all []string) {
	for _, digit := range "0123456789abcdef" {
		all = append(all, prefix+string(digit))
	}
	return all
}

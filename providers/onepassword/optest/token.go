package optest

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// ServiceToken makes a token that is well-formed, for no account there is.
func ServiceToken(server string) string {
	b, _ := json.Marshal(map[string]any{ // of text and numbers, which cannot fail
		"signInAddress": server,
		"userAuth":      map[string]any{"method": "SRPg-4096", "alg": "PBES2g-HS256", "iterations": 650000, "salt": "3xZNBPVUjdt9P0ufHLa5FA"},
		"email":         "nobody@1passwordserviceaccounts.com",
		"srpX":          strings.Repeat("ab", 32),
		"muk":           map[string]any{"alg": "A256GCM", "ext": true, "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32)), "key_ops": []string{"encrypt", "decrypt"}, "kty": "oct", "kid": "mp"},
		"secretKey":     "A3-" + "C4ZJMN-PQTZTL-HGL84-G64M7-KVZRN-4ZVP6",
		"throttleSecret": map[string]any{
			"seed": strings.Repeat("cd", 32),
			"uuid": "CIWJXKMNSBHNRNLSLFJGVWQ7YY",
		},
		"deviceUuid": "yxl2a6ncfpvd5qzg3wdnnxf4ra",
	})
	return "ops_" + base64.RawURLEncoding.EncodeToString(b)
}

package scan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/scan"
)

// TestSARIF: what code scanning reads. All of it was held against the schema of
// OASIS once; here is what could go wrong without being seen.
func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, scan.WriteSARIF(&out, "v1", []scan.Finding{
		{Path: "a b/c%.env", Line: 3, Column: 7, Rule: "secret-name", What: "variable", Fingerprint: "0123456789abcdef"},
		{Path: "/x/\xff", Commit: "abc", Line: 1, Rule: scan.RuleVault, What: "value", Secret: "db/password"},
		{Path: "c:d", Line: 1, Rule: "jwt"},
	}, []error{errors.New("reading \"\xff\": no")}))
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Invocations []struct {
				ExecutionSuccessful        bool
				ToolExecutionNotifications []struct{ Message struct{ Text string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
				PartialFingerprints map[string]string
				Properties          map[string]string
			}
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &log))
	require.Equal(t, "2.1.0", log.Version)
	run := log.Runs[0]
	require.False(t, run.Invocations[0].ExecutionSuccessful)
	require.Equal(t, "reading \"\ufffd\": no", run.Invocations[0].ToolExecutionNotifications[0].Message.Text)
	require.Len(t, run.Results, 3)
	for _, r := range run.Results {
		require.Equal(t, r.RuleID, run.Tool.Driver.Rules[r.RuleIndex].ID)
	}
	uri := func(i int) string { return run.Results[i].Locations[0].PhysicalLocation.ArtifactLocation.URI }
	require.Equal(t, []string{"a%20b/c%25.env", "file:///x/%FF", "./c:d"}, []string{uri(0), uri(1), uri(2)})
	require.Equal(t, 3, run.Results[0].Locations[0].PhysicalLocation.Region.StartLine)
	require.Equal(t, "0123456789abcdef", run.Results[0].PartialFingerprints["secretctl/v1"])
	require.Equal(t, "value: db/password", run.Results[1].Message.Text)
	require.Equal(t, "abc", run.Results[1].Properties["commit"])
}

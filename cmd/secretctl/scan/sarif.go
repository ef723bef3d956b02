package scan

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// The parts of SARIF 2.1.0 (OASIS, 2020) that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string       `json:"id"`
		Short sarifMessage `json:"shortDescription"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		OK      bool                `json:"executionSuccessful"`
		Notices []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifMessage      `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	// A column would have to be in characters, of which only the file knows how
	// they are encoded.
	sarifRegion struct {
		Line int `json:"startLine"`
	}
)

// WriteSARIF writes what was found and what could not be searched, for code
// scanning. version is that of this program.
func WriteSARIF(w io.Writer, version string, found []Finding, troubles []error) error {
	run := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: "secretctl", Version: version}},
		Invocations: []sarifInvocation{{OK: len(troubles) == 0}},
		Results:     []sarifResult{},
	}
	index := make(map[string]int)
	for i, r := range Rules() {
		index[r.ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.ID, sarifMessage{r.What}})
	}
	for _, err := range troubles {
		run.Invocations[0].Notices = append(run.Invocations[0].Notices, sarifNotification{"error", sarifMessage{strings.ToValidUTF8(err.Error(), "\ufffd")}})
	}
	for _, f := range found {
		r := sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: "error", Message: sarifMessage{f.What},
			Locations:    []sarifLocation{{sarifPhysical{sarifArtifact{uri(f.Path)}, sarifRegion{f.Line}}}},
			Fingerprints: map[string]string{"secretctl/v1": f.Fingerprint},
		}
		if f.Secret != "" {
			r.Message.Text += ": " + f.Secret
		}
		if f.Commit != "" {
			r.Properties = map[string]string{"commit": f.Commit}
		}
		run.Results = append(run.Results, r)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// uri returns a path as a URI, or as a reference relative to where the scan ran.
func uri(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
		return "file://" + u.EscapedPath()
	}
	return u.String()
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// modelAPI is a model's API on loopback, as far as the real tools need one: it
// answers "pong", or has Claude Code use tools, and notes which keys it was given
// and what it was told.
type modelAPI struct {
	*httptest.Server
	tools []string // commands that Claude Code is to run, one after the other

	mu     sync.Mutex
	keys   map[string]int // key → times
	bodies []string
}

func newModelAPI(t *testing.T, tools ...string) *modelAPI {
	a := &modelAPI{tools: tools, keys: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", a.messages)
	mux.HandleFunc("POST /v1/responses", a.responses)
	mux.HandleFunc("POST /v1/chat/completions", a.completions)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// note remembers a request and returns its body.
func (a *modelAPI) note(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		a.keys[key]++
	}
	a.bodies = append(a.bodies, string(body))
	return string(body)
}

// took returns how often a key was given since it was asked last.
func (a *modelAPI) took(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.keys[key]
	delete(a.keys, key)
	return n
}

// told returns everything that it was told.
func (a *modelAPI) told() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.bodies, "\n")
}

// sendEvents writes server-sent events.
func sendEvents(w http.ResponseWriter, named bool, all ...map[string]any) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range all {
		b, _ := json.Marshal(e)
		if named {
			fmt.Fprintf(w, "event: %s\n", e["type"])
		}
		fmt.Fprintf(w, "data: %s\n\n", b)
	}
}

type m = map[string]any

// messages is Anthropic's API.
func (a *modelAPI) messages(w http.ResponseWriter, r *http.Request) {
	body := a.note(r)
	block, delta, stop := m{"type": "text", "text": ""}, m{"type": "text_delta", "text": "pong"}, "end_turn"
	if done := strings.Count(body, `"tool_result"`); done < len(a.tools) && strings.Contains(body, `"name":"Bash"`) {
		input, _ := json.Marshal(m{"command": a.tools[done], "description": "a test"})
		block = m{"type": "tool_use", "id": fmt.Sprintf("toolu_%d", done), "name": "Bash", "input": m{}}
		delta, stop = m{"type": "input_json_delta", "partial_json": string(input)}, "tool_use"
	}
	sendEvents(w, true,
		m{"type": "message_start", "message": m{
			"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": []any{},
			"stop_reason": nil, "stop_sequence": nil, "usage": m{"input_tokens": 1, "output_tokens": 1},
		}},
		m{"type": "content_block_start", "index": 0, "content_block": block},
		m{"type": "content_block_delta", "index": 0, "delta": delta},
		m{"type": "content_block_stop", "index": 0},
		m{"type": "message_delta", "delta": m{"stop_reason": stop, "stop_sequence": nil}, "usage": m{"output_tokens": 1}},
		m{"type": "message_stop"},
	)
}

// responses is OpenAI's newer API, which Codex speaks.
func (a *modelAPI) responses(w http.ResponseWriter, r *http.Request) {
	a.note(r)
	sendEvents(w, true,
		m{"type": "response.created", "response": m{"id": "r1"}},
		m{"type": "response.output_item.done", "item": m{
			"type": "message", "role": "assistant", "id": "m1", "content": []any{m{"type": "output_text", "text": "pong"}},
		}},
		m{"type": "response.completed", "response": m{
			"id": "r1", "usage": m{"input_tokens": 0, "input_tokens_details": nil, "output_tokens": 0, "output_tokens_details": nil, "total_tokens": 0},
		}},
	)
}

// completions is OpenAI's older API, which OpenClaw can speak.
func (a *modelAPI) completions(w http.ResponseWriter, r *http.Request) {
	a.note(r)
	chunk := func(delta m, finish any) m {
		return m{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "choices": []any{
			m{"index": 0, "delta": delta, "finish_reason": finish},
		}}
	}
	sendEvents(w, false, chunk(m{"role": "assistant", "content": "pong"}, nil), chunk(m{}, "stop"))
	fmt.Fprint(w, "data: [DONE]\n\n")
}

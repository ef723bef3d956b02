package broker_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
)

// question is one request to a socket, without the client's checks.
type question struct {
	Socket string // path
	Method string // "POST /v1/leases?x=y"
	Body   string
}

// reply is what came back. A connection that was refused before anything was
// read has the refusal's status too.
type reply struct {
	Status int
	Body   string
	Header http.Header
	Err    string // the connection ended without an answer
	Took   time.Duration
}

// code is the code of an error's answer, "" for an answer that is none.
func (r reply) code() broker.Code {
	var e struct{ Error *broker.Error }
	if json.Unmarshal([]byte(r.Body), &e) != nil || e.Error == nil {
		return ""
	}
	return e.Error.Code
}

// ask asks one question over a connection of its own.
func (q question) ask() reply {
	conn, err := net.Dial("unix", q.Socket)
	if err != nil {
		return reply{Err: err.Error()}
	}
	defer conn.Close()
	method, target, _ := strings.Cut(q.Method, " ")
	req, err := http.NewRequest(method, "http://secretctl"+target, strings.NewReader(q.Body))
	if err != nil {
		return reply{Err: err.Error()}
	}
	req.Close = true
	_ = req.Write(conn) // refused connections are closed while this writes
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return reply{Err: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{Err: err.Error()}
	}
	return reply{Status: resp.StatusCode, Body: string(body), Header: resp.Header}
}

// actAsk is the act of asking the questions on stdin and printing the replies.
func actAsk([]string) error {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		return err
	}
	replies := make([]reply, 0, len(questions))
	for _, q := range questions {
		began := time.Now()
		r := q.ask()
		r.Took = time.Since(began)
		replies = append(replies, r)
	}
	return json.NewEncoder(os.Stdout).Encode(replies)
}

// askAs asks questions as another uid.
func askAs(t testing.TB, uid uint32, questions ...question) []reply {
	in, err := json.Marshal(questions)
	require.NoError(t, err)
	cmd := as(t, uid, "ask")
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	var replies []reply
	require.NoError(t, json.Unmarshal(out.Bytes(), &replies))
	require.Len(t, replies, len(questions))
	return replies
}

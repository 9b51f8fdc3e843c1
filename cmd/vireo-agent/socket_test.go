package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
)

func serve(t *testing.T, answer answerer) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "agent.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // of an earlier agent
		t.Fatal(err)
	}
	l, err := listenHook(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		serveHook(ctx, l, answer, slog.New(slog.NewTextHandler(io.Discard, nil)))
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	return path
}

// exchange writes text and returns what comes back until the end.
func exchange(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, text) // the other side may have closed already
	_ = conn.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	return string(got)
}

func TestSocket(t *testing.T) {
	path := serve(t, func(_ context.Context, r hook.Request) (hook.Answer, error) {
		switch r.Name {
		case "g1":
			return hook.Answer{Allow: r.Operation == hook.Prepare && r.XML == "<domain/>"}, nil
		case "g2":
			return hook.Answer{Message: "no"}, nil
		}
		return hook.Answer{}, errors.New("the agent ends")
	})
	for text, want := range map[string]string{
		`{"name":"g1","operation":"prepare","xml":"<domain/>"}`: `{"allow":true}`,
		`{"name":"g2","operation":"migrate","xml":""}`:          `{"allow":false,"message":"no"}`,
		`{"name":"g3","operation":"restore","xml":""}`:          ``,
		`{"name":"g1","operation":"reconnect","xml":""}`:        ``,
		`{"name":"g1"`:                        ``,
		``:                                    ``,
		strings.Repeat("\x00", 8*hook.MaxXML): ``,
	} {
		if got := exchange(t, path, text); got != want {
			t.Errorf("to %.60q: %q, want %q", text, got, want)
		}
	}
}

// TestSilentClients: those who connect and say nothing keep nobody from being
// heard, and are given up on.
func TestSilentClients(t *testing.T) {
	path := serve(t, func(context.Context, hook.Request) (hook.Answer, error) { return hook.Answer{Allow: true}, nil })
	silent, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if got := exchange(t, path, `{"name":"g1","operation":"prepare","xml":""}`); got != `{"allow":true}` {
		t.Errorf("beside a silent client: %q", got)
	}
	if err := silent.SetReadDeadline(time.Now().Add(10 * hearHook)); err != nil {
		t.Fatal(err)
	}
	if n, err := silent.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the silent client reads %d, %v; want the end", n, err)
	}
}

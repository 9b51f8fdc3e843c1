package virsh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/run"
)

// echo is a virsh that prints its arguments.
func echo(t *testing.T) Virsh {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virsh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\necho err >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Virsh{Path: path, URI: "qemu:///system", Runner: new(run.Runner)}
}

func TestRun(t *testing.T) {
	for line, want := range map[string]string{
		"list":                      "list",
		"list --all --uuid":         "list --all --uuid",
		"dominfo web-7":             "dominfo --domain=web-7",
		"domstate web-7 --reason":   "domstate --reason --domain=web-7",
		"domstate --reason web-7":   "domstate --reason --domain=web-7",
		"domjobinfo g1 --completed": "domjobinfo --completed --domain=g1",
		"dumpxml g1 --inactive":     "dumpxml --inactive --domain=g1",
	} {
		got := echo(t).Run(t.Context(), strings.Fields(line))
		text := strings.ReplaceAll(strings.TrimSpace(string(got.GetStdout())), "\n", " ")
		if got.GetError() != "" || text != "--readonly --connect qemu:///system "+want {
			t.Errorf("%s: ran %q, %s", line, text, got.GetError())
		}
		if got.GetExitCode() != 3 || string(got.GetStderr()) != "err\n" {
			t.Errorf("%s: %d %q", line, got.GetExitCode(), got.GetStderr())
		}
	}
}

func TestRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing":                {},
		"another command":        {"destroy", "g1"},
		"several commands":       {"list; destroy g1"},
		"list of a domain":       {"list", "g1"},
		"no domain":              {"dominfo"},
		"two domains":            {"dominfo", "g1", "g2"},
		"secrets":                {"dumpxml", "g1", "--security-info"},
		"another host":           {"list", "--connect", "qemu+ssh://x/system"},
		"a domain as option":     {"dominfo", "-c"},
		"an option's value":      {"dumpxml", "g1", "--xpath=/"},
		"empty":                  {"dominfo", ""},
		"new line":               {"dominfo", "a\nb"},
		"very long":              {"dominfo", strings.Repeat("x", 300)},
		"command as an option":   {"--connect", "list"},
		"another command's flag": {"dominfo", "g1", "--reason"},
	} {
		t.Run(name, func(t *testing.T) {
			got := echo(t).Run(t.Context(), args)
			if got.GetError() == "" || !got.GetRefused() || len(got.GetStdout()) != 0 {
				t.Errorf("ran %q, %v", got.GetStdout(), got)
			}
			if len(got.GetError()) > 200 {
				t.Errorf("an error of %d bytes", len(got.GetError()))
			}
		})
	}
}

func TestMissing(t *testing.T) {
	v := Virsh{Path: "/nonexistent/virsh", URI: "x:///", Runner: new(run.Runner)}
	if got := v.Run(t.Context(), []string{"list"}); !strings.Contains(got.GetError(), "/nonexistent/virsh") || got.GetRefused() {
		t.Errorf("%q", got.GetError())
	}
}

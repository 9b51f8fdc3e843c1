package hook

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hooks", "qemu.d", "vireo")
	if old, err := Installed(path); err != nil || old != "" {
		t.Errorf("before: %q, %v", old, err)
	}
	for i, want := range []bool{true, false} {
		if changed, err := Install(path, Script("/usr/bin/vireo-hook", "/etc/vireo/agent.toml")); err != nil || changed != want {
			t.Errorf("install %d: changed %t, %v", i, changed, err)
		}
	}
	if changed, err := Install(path, Script("/opt/vireo-hook", "/etc/vireo/agent.toml")); err != nil || !changed {
		t.Errorf("another program: changed %t, %v", changed, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info, err)
	}
	// libvirt executes everything in the directory.
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("in the directory: %v, %v", all, err)
	}
	for i, want := range []bool{true, false} {
		if was, err := Uninstall(path); err != nil || was != want {
			t.Errorf("uninstall %d: %t, %v", i, was, err)
		}
	}
}

func TestForeignFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vireo")
	for _, foreign := range []string{"#!/bin/sh\nexit 0\n", "", "\x7fELF"} {
		if err := os.WriteFile(path, []byte(foreign), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Install(path, Script("/usr/bin/vireo-hook", "/etc/vireo/agent.toml"))
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), path) {
			t.Errorf("install over %q: %v", foreign, err)
		}
		if _, err := Uninstall(path); !errors.Is(err, ErrForeign) {
			t.Errorf("uninstall %q: %v", foreign, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != foreign {
			t.Errorf("%q has become %q, %v", foreign, text, err)
		}
	}
}

// TestScriptQuotes: paths and a domain's name arrive as they are.
func TestScriptQuotes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a $HOME; dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, script := filepath.Join(dir, "program"), filepath.Join(dir, "vireo")
	for path, text := range map[string]string{
		program: "#!/bin/sh\nprintf '%s|' \"$@\" >&2\nexit 3\n",
		script:  Script(program, dir+"/agent.toml"),
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(script, "a 'guest' $x", "prepare", "begin", "-")
	out, err := cmd.CombinedOutput()
	if want := dir + "/agent.toml|a 'guest' $x|prepare|begin|-|"; string(out) != want || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("called with %q, %v; want %q and exit code 3", out, err, want)
	}
}

func TestLimits(t *testing.T) {
	if _, err := ReadRequest(strings.NewReader(`{"name":"g","operation":"prepare","xml":"` + strings.Repeat("x", maxRequest) + `"}`)); err == nil ||
		!strings.Contains(err.Error(), "longer than") {
		t.Errorf("a request without end: %v", err)
	}
	for _, bad := range []string{"", "{", `{"name":"g","operation":"reconnect"}`, `{"operation":"prepare"}`, "\x00\x00"} {
		if r, err := ReadRequest(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, r)
		}
	}
	if _, err := ReadAnswer(strings.NewReader(`{"allow":true,"message":"` + strings.Repeat("x", maxAnswer) + `"}`)); err == nil {
		t.Error("an answer without end is read")
	}
	if a, err := ReadAnswer(strings.NewReader(``)); err == nil || a.Allow {
		t.Errorf("silence is taken for %+v", a)
	}
}

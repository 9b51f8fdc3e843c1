package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/collect"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
)

// command runs the program without a process, and returns exit code and output.
func command(args ...string) (code int, out string) {
	var both bytes.Buffer
	a := app()
	a.Writer = &both
	code = daemon.Run(context.Background(), a, append([]string{"vireo-agent"}, args...), &both)
	return code, both.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", "pki_dir = \""+dir+"/pki\"\nrun_dir = \""+dir+"/run\"\nstate_dir = \""+dir+"/state\"\nsmartctl = \"/nonexistent/smartctl\"\n[libvirt]\nuri = \"qemu+unix:///system?socket=/nonexistent/sock\"\n")
	bad := write("bad.toml", "smart_interval = \"soon\"\n")
	const someToken = "vj1.AAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"config is good":      {[]string{"config", "check", "--config", good}, 0, []string{"good"}},
		"config is bad":       {[]string{"run", "--config", bad}, 2, []string{bad, "smart_interval", "soon"}},
		"config is missing":   {[]string{"check", "--config", "/nonexistent/agent.toml"}, 2, []string{"/nonexistent/agent.toml"}},
		"not enrolled":        {[]string{"run", "--config", good}, 2, []string{"not enrolled", "vireo-agent enroll"}},
		"no token":            {[]string{"enroll", "--config", good}, 2, []string{"--token is missing", "vireo agents token"}},
		"broken token":        {[]string{"enroll", "--config", good, "--token", "hello"}, 2, []string{"not a join token"}},
		"manager unreachable": {[]string{"enroll", "--config", good, "--token", someToken, "--manager", "https://127.0.0.1:1"}, 3, []string{"127.0.0.1:1", "--manager"}},
		"unknown command":     {[]string{"fly"}, 2, []string{`no command "fly"; there are run, enroll, check, hook, allow and config`}},
		"unknown part":        {[]string{"hook", "fly"}, 2, []string{`no command "fly"; there are install, uninstall and status`}},
		"forgotten flag":      {[]string{"check", "h2"}, 2, []string{`check: unexpected argument "h2"`}},
		"no reason":           {[]string{"allow", "g1"}, 2, []string{"allow: --reason is needed"}},
		"flags come last":     {[]string{"allow", "g1", "--reason", "x", "--for", "48h"}, 2, []string{"--for 48h0m0s: expected more than 0"}},
		"unknown flag":        {[]string{"check", "--nope"}, 2, []string{"nope"}},
		"check":               {[]string{"check", "--config", good}, 1, []string{"FAIL  identity", "not enrolled", "FAIL  libvirt", "/nonexistent/sock", "ok    directory", "FAIL  drives by /nonexistent/smartctl"}},
		"defaults":            {[]string{"config", "default"}, 0, []string{"manager = "}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := command(c.args...)
			if code != c.code {
				t.Errorf("exit %d, want %d: %s", code, c.code, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q: %s", want, out)
				}
			}
			if strings.Contains(out, someToken) {
				t.Errorf("prints the token: %s", out)
			}
		})
	}
}

func TestLocalDisks(t *testing.T) {
	got := localDisks([]virt.Domain{
		{UUID: "a", Config: virt.Config{Disks: []virt.Disk{
			{Device: "disk", Type: "file", Source: "/images/a.qcow2"},
			{Device: "cdrom", Type: "file", Source: "/iso/debian.iso"},
			{Device: "disk", Type: "network", Protocol: "nbd", Source: "g1"},
			{Device: "lun", Type: "block", Source: "/dev/sdc"},
			{Device: "disk", Type: "volume", Source: "pool/volume"},
		}}},
		{UUID: "b"},
	})
	want := []collect.DomainDisk{{Domain: "a", Path: "/images/a.qcow2"}, {Domain: "a", Path: "/dev/sdc"}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v, want %v", got, want)
	}
}

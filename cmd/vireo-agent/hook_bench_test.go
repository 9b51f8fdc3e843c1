package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

// BenchmarkHook is one start as libvirtd sees it: the script, the program, the
// socket, an agent that looks after 500 running guests and holds them all, its
// journal, and back.
func BenchmarkHook(b *testing.B) {
	const guests = 500
	dir := b.TempDir()
	program := filepath.Join(dir, "vireo-hook")
	build := exec.Command("go", "build", "-o", program, "../vireo-hook")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	config, script := filepath.Join(dir, "agent.toml"), filepath.Join(dir, "vireo")
	for path, text := range map[string]string{
		config: fmt.Sprintf("run_dir = %q\nstate_dir = %q\n[hook]\nmode = \"enforce\"\n", dir, dir),
		script: hook.Script(program, config),
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			b.Fatal(err)
		}
	}

	fleet := virttest.NewFleet([]string{"h1"}, virttest.WithoutWaiting())
	host := fleet.Host("h1")
	libvirt, err := host.Opener()(b.Context(), "qemu:///system", nil)
	if err != nil {
		b.Fatal(err)
	}
	held := journal.State{Host: journal.Host{BootID: host.BootID(), Name: "h1"}, Domains: map[string]journal.Domain{}}
	xmls := make([]string, guests)
	for i := range guests {
		uuid := fmt.Sprintf("11111111-2222-3333-4444-%012x", i)
		disk := fmt.Sprintf("<disk type='file' device='disk'><source file='/images/g%d'/><target dev='vda'/></disk>", i)
		xmls[i] = fmt.Sprintf("<domain type='qemu'><name>g%d</name><uuid>%s</uuid><memory>131072</memory><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>%s</devices></domain>",
			i, uuid, disk)
		if _, err := libvirt.Define(b.Context(), xmls[i]); err != nil {
			b.Fatal(err)
		}
		if err := libvirt.Start(b.Context(), uuid); err != nil {
			b.Fatal(err)
		}
		held.Domains[uuid] = journal.Domain{UUID: uuid, Epoch: uint64(i + 1), Phase: journal.Held, Confirmed: true}
	}
	if err := journal.Copy(filepath.Join(dir, "journal"), held); err != nil {
		b.Fatal(err)
	}

	log := slog.New(slog.DiscardHandler)
	a, err := agent.New(agent.Config{
		Host: "h1", BootID: host.BootID(), LibvirtURI: "qemu:///system", Journal: filepath.Join(dir, "journal"), SysRoot: b.TempDir(),
		ReportInterval: 5 * time.Second, Hook: agent.HookConfig{Mode: configs.HookEnforce},
	}, agent.Deps{
		Clock: daemon.Clock{}, Open: host.Opener(), Exits: host, Log: log,
		Dial: func(ctx context.Context, _ *agentv1.Hello) (agent.Session, error) {
			<-ctx.Done()
			return nil, errors.New("the manager is away")
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	socket, err := listenHook(filepath.Join(dir, "agent.sock"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 2)
	go func() { ended <- a.Run(ctx) }()
	go func() { serveHook(ctx, socket, a.Hooked, log); ended <- nil }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			b.Error(err)
		}
	}()

	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		n := i * 7 % guests
		cmd := exec.Command(script, fmt.Sprintf("g%d", n), "prepare", "begin", "-")
		cmd.Stdin = strings.NewReader(xmls[n])
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		begun := time.Now()
		err := cmd.Run()
		took = append(took, time.Since(begun))
		if err != nil {
			b.Fatalf("%v: %s", err, stderr.String())
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
}

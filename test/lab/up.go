package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vireo-kvm/vireo/test/heartbeat/receiver"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// HeartbeatSocket is where the receiver of the heartbeats answers.
const HeartbeatSocket = Dir + "/heartbeats.sock"

// ReceiverCommand is the hidden subcommand of vireo-lab that receives heartbeats.
const ReceiverCommand = "heartbeat-receiver"

// Up makes a lab and returns when every guest beats and, unless told otherwise,
// every agent reports. If it fails, or ctx is done before, it takes away what it
// has made. While a lab is up it returns an error that is ErrUp.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := checkMachine(o); err != nil {
		return nil, err
	}
	if err := checkPrograms(o); err != nil {
		return nil, err
	}
	if err := notUp(); err != nil {
		return nil, err
	}
	img, err := prepareImage(ctx, o.Bin, o.Say)
	if err != nil {
		return nil, err
	}
	d := describe(o, img, time.Now().UTC())
	if err := checkNetworkFree(d.Machines()); err != nil {
		return nil, err
	}
	if err := os.Mkdir(Dir, 0o755); errors.Is(err, os.ErrExist) {
		return nil, notUp()
	} else if err != nil {
		return nil, err
	}
	l, err := build(ctx, d)
	if err != nil {
		o.Say("failed; taking away what was made")
		return nil, errors.Join(err, Down(o.Say))
	}
	return l, nil
}

// notUp returns nil if no lab is up, and ErrUp with what is known of it if one is.
func notUp() error {
	if _, err := os.Stat(Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	d, err := readDescription()
	switch {
	case err != nil || !d.Ready:
		return fmt.Errorf("%w, or was being made when its maker ended; `vireo-lab down` takes it away", ErrUp)
	default:
		return fmt.Errorf("%w: %d hosts and %d guests since %s; `vireo-lab down` takes it away",
			ErrUp, len(d.Hosts), len(d.Guests), d.Since.Format(time.RFC3339))
	}
}

// Machines returns the names of all machines: the switch, the managers, etcd, the hosts.
func (d Description) Machines() []string {
	out := append([]string{SwitchName}, d.ManagerNames()...)
	out = append(out, d.EtcdNames()...)
	for _, h := range d.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// build makes everything that a description says, in the directory that exists.
func build(ctx context.Context, d Description) (*Lab, error) {
	made, err := newMadeLog()
	if err != nil {
		return nil, err
	}
	defer made.close()
	if err := errors.Join(made.add(thing{Kind: kindDir, Path: Dir}), os.Mkdir(filepath.Join(Dir, "mnt"), 0o755), d.write()); err != nil {
		return nil, err
	}
	say := d.Options.Say
	say("network")
	if err := makeNamespaces(made, d.Machines()); err != nil {
		return nil, err
	}
	if err := makeSwitch(ctx, made); err != nil {
		return nil, err
	}
	say(fmt.Sprintf("%d hosts, the manager's machine, storage", len(d.Hosts)))
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return buildSwitch(made, d) })
	for _, name := range d.ManagerNames() {
		group.Go(func() error { return buildMachine(gctx, made, d, name, nil) })
	}
	for _, name := range d.EtcdNames() {
		group.Go(func() error { return buildMachine(gctx, made, d, name, []supervise.Service{etcdService(d, name)}) })
	}
	for _, h := range d.Hosts {
		group.Go(func() error { return buildMachine(gctx, made, d, h.Name, hostServices(d, h.Name)) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	l := &Lab{Description: d}
	if len(d.Guests) > 0 {
		say(fmt.Sprintf("%d guests of %d MiB", len(d.Guests), d.Options.GuestMiB))
	}
	if err := l.startGuests(ctx); err != nil {
		return nil, err
	}
	// The guests boot while vireo is set up.
	group, gctx = errgroup.WithContext(ctx)
	group.Go(func() error { return l.waitForBeats(gctx) })
	if !d.Options.NoVireo {
		say("vireo: a manager and an agent on each host")
		group.Go(func() error {
			if err := l.startVireo(gctx); err != nil {
				return fmt.Errorf("vireo: %w", err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := copyCapabilities(capabilitiesOf(filepath.Join(machineDir(d.Hosts[0].Name), "disk")), cachedCapabilities()); err != nil {
		return nil, err
	}
	l.Ready = true
	return l, l.write()
}

// buildSwitch makes the machine that has the guests' disks and receives their beats.
func buildSwitch(made *madeLog, d Description) error {
	dir := machineDir(SwitchName)
	logs := filepath.Join(dir, "log")
	images := filepath.Join(Dir, "images")
	if err := errors.Join(os.MkdirAll(logs, 0o755), os.MkdirAll(images, 0o755)); err != nil {
		return err
	}
	services := []supervise.Service{{
		Name: "heartbeats", Argv: []string{filepath.Join(d.Options.Bin, "vireo-lab"), ReceiverCommand},
		Log: filepath.Join(logs, "heartbeats.log"), Restart: true,
	}}
	for _, g := range d.Guests {
		file := filepath.Join(images, g.Name+".raw")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(file, guestDiskMiB<<20); err != nil {
			return err
		}
		services = append(services, supervise.Service{
			Name: "disk-" + g.Name, Log: filepath.Join(logs, "disk-"+g.Name+".log"), Restart: true,
			Argv: []string{"qemu-nbd", "-x", g.Name, "-e", "8", "-b", SwitchAddress, "-p", strconv.Itoa(nbdPort(g.Number)), "-t", "-f", "raw", file},
		})
	}
	return boot(made, d, SwitchName, services)
}

// buildMachine makes a manager's machine, one of etcd or a host, and waits for its libvirt if it has one.
func buildMachine(ctx context.Context, made *madeLog, d Description, machine string, services []supervise.Service) error {
	if err := furnish(made, d, machine); err != nil {
		return err
	}
	address, err := d.addressOf(machine)
	if err != nil {
		return err
	}
	if err := plug(ctx, machine, address, isHost(machine)); err != nil {
		return err
	}
	if isHost(machine) {
		disk := filepath.Join(machineDir(machine), "disk")
		if err := furnishHardware(machine); err != nil {
			return err
		}
		if err := configureLibvirt(disk, d.host(machine).UUID, d.Options); err != nil {
			return err
		}
	}
	if err := boot(made, d, machine, services); err != nil {
		return err
	}
	if !isHost(machine) {
		return nil
	}
	return waitLibvirt(ctx, machine)
}

// startGuests defines every guest on its first host, sets autostart and starts it; all hosts at once.
func (l *Lab) startGuests(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, g := range l.Guests {
		group.Go(func() error {
			return poll(ctx, 20*time.Second, "disk of "+g.Name, func() error {
				c, err := net.Dial("tcp", net.JoinHostPort(SwitchAddress, strconv.Itoa(nbdPort(g.Number))))
				if err == nil {
					c.Close()
				}
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	group, ctx = errgroup.WithContext(context.WithoutCancel(ctx))
	for _, h := range l.Hosts {
		group.Go(func() error {
			var commands []string
			for _, g := range l.Guests {
				if g.FirstHost != h.Name {
					continue
				}
				text, err := domainXML(g, l.Image)
				if err != nil {
					return err
				}
				file := filepath.Join(machineDir(h.Name), g.Name+".xml")
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					return err
				}
				commands = append(commands, "define "+file, "autostart "+g.Name, "start "+g.Name)
			}
			if len(commands) == 0 {
				return nil
			}
			_, err := l.Virsh(ctx, h.Name, strings.Join(commands, "; "))
			return err
		})
	}
	return group.Wait()
}

// waitForBeats waits until every guest has been heard.
func (l *Lab) waitForBeats(ctx context.Context) error {
	client := l.Heartbeats()
	return poll(ctx, 2*time.Minute, "heartbeats", func() error {
		seen, err := client.Guests(ctx)
		if err != nil {
			return err
		}
		missing := map[string]bool{}
		for _, g := range l.Guests {
			missing[g.Name] = true
		}
		for _, g := range seen {
			delete(missing, g.Name)
		}
		if len(missing) > 0 {
			return fmt.Errorf("%d of %d guests were not heard yet", len(missing), len(l.Guests))
		}
		return nil
	})
}

// Heartbeats returns a client of the heartbeat receiver.
func (l *Lab) Heartbeats() *receiver.Client { return receiver.NewClient(HeartbeatSocket) }

func (d Description) host(name string) HostSpec {
	for _, h := range d.Hosts {
		if h.Name == name {
			return h
		}
	}
	return HostSpec{}
}

func (d Description) write() error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(Dir, "lab.json"), append(b, '\n'))
}

func readDescription() (Description, error) {
	var d Description
	b, err := os.ReadFile(filepath.Join(Dir, "lab.json"))
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

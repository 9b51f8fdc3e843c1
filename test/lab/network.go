package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The network of the lab. The last two bytes of an address tell what it belongs to.
const (
	Network       = "10.77.0.0/16"
	RootAddress   = "10.77.0.1" // the machine that the lab runs on
	SwitchAddress = "10.77.0.2" // disks of the guests, receiver of the heartbeats

	rootLink   = "vireo-lab0" // the real machine's leg in the lab's network
	switchName = "lan"        // the switch; also the name of its bridge
	hostBridge = "br0"        // the bridge of each host
)

// HostAddress is the address of the host with a number from 1 on.
func HostAddress(n int) string { return fmt.Sprintf("10.77.1.%d", n) }

// GuestAddress is the address of the guest with a number from 1 on.
func GuestAddress(n int) string { return fmt.Sprintf("10.77.2.%d", n) }

// netnsOf is the name of a machine's network namespace, as `ip netns` shows it.
func netnsOf(machine string) string { return "vireo-" + machine }

// checkNetworkFree returns an error if something on the real machine is in the way.
func checkNetworkFree(machines []string) error {
	for _, m := range machines {
		if _, err := os.Stat(filepath.Join("/run/netns", netnsOf(m))); err == nil {
			return fmt.Errorf("there is a network namespace %s that no lab of this machine has made; remove it with: ip netns del %s", netnsOf(m), netnsOf(m))
		}
	}
	lab := netip.MustParsePrefix(Network)
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Overlaps(lab) {
				return fmt.Errorf("interface %s has the address %s, which is in the lab's network %s", i.Name, a, Network)
			}
		}
	}
	return nil
}

// makeNamespaces makes the named network namespaces.
func makeNamespaces(made *madeLog, machines []string) error {
	under, err := mountsUnder("/run/netns")
	if err != nil {
		return err
	}
	if _, err := os.Stat("/run/netns"); errors.Is(err, os.ErrNotExist) || len(under) == 0 {
		if err := made.add(thing{Kind: kindNetnsDir}); err != nil {
			return err
		}
	}
	for _, m := range machines {
		if err := made.add(thing{Kind: kindNetns, Name: netnsOf(m)}); err != nil {
			return err
		}
		if err := run("ip", "netns", "add", netnsOf(m)); err != nil {
			return err
		}
		if err := inNetns(netnsOf(m), noIPv6); err != nil {
			return err
		}
	}
	return nil
}

// makeSwitch makes the bridge that joins everything, and the real machine's leg.
func makeSwitch(ctx context.Context, made *madeLog) error {
	if err := made.add(thing{Kind: kindLink, Name: rootLink}); err != nil {
		return err
	}
	if err := run("ip", "link", "add", rootLink, "type", "veth", "peer", "name", "root", "netns", netnsOf(switchName)); err != nil {
		return err
	}
	err := ipBatch(ctx, netnsOf(switchName),
		"link set lo up",
		"link add "+switchName+" type bridge forward_delay 0 stp_state 0",
		"link set "+switchName+" address 02:77:00:00:00:02 up",
		"addr add "+SwitchAddress+"/16 dev "+switchName,
		"link set root master "+switchName+" up",
	)
	if err != nil {
		return err
	}
	return ipBatch(ctx, "",
		"link set "+rootLink+" address 02:77:00:00:00:01 up",
		"addr add "+RootAddress+"/16 dev "+rootLink,
	)
}

// plug joins a machine's namespace to the switch; the port has the machine's name.
// A machine with a bridge has its address on it: with a fixed MAC address, or the
// bridge would take the lowest of its ports', which may be a guest's tap, and lose
// it to the host that the guest moves to.
func plug(ctx context.Context, machine, address string, bridged bool) error {
	err := ipBatch(ctx, netnsOf(switchName),
		"link add "+machine+" type veth peer name eth0 netns "+netnsOf(machine),
		"link set "+machine+" master "+switchName+" up",
	)
	if err != nil {
		return err
	}
	mac, err := macOf(address)
	if err != nil {
		return err
	}
	lines := []string{"link set lo up"}
	if bridged {
		lines = append(lines,
			"link add "+hostBridge+" type bridge forward_delay 0 stp_state 0",
			"link set "+hostBridge+" address "+mac+" up",
			"link set eth0 master "+hostBridge+" up",
			"addr add "+address+"/16 dev "+hostBridge,
		)
	} else {
		lines = append(lines, "link set eth0 address "+mac+" up", "addr add "+address+"/16 dev eth0")
	}
	return ipBatch(ctx, netnsOf(machine), lines...)
}

// unplug takes a machine's cable out of the switch, in both directions and at once.
func unplug(machine string) error {
	return run("ip", "-n", netnsOf(switchName), "link", "set", machine, "down")
}

// macOf makes a MAC address of an IPv4 address of the lab.
func macOf(address string) (string, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "", err
	}
	b := a.As4()
	return fmt.Sprintf("02:77:00:00:%02x:%02x", b[2], b[3]), nil
}

// ipBatch runs lines of ip in a network namespace, "" for the caller's.
func ipBatch(ctx context.Context, netns string, lines ...string) error {
	argv := []string{"ip"}
	if netns != "" {
		argv = append(argv, "-n", netns)
	}
	_, err := output(ctx, strings.Join(lines, "\n")+"\n", append(argv, "-batch", "-")...)
	return err
}

// noIPv6 keeps the network namespace of the calling thread free of addresses that nobody asked for.
func noIPv6() error {
	for _, who := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+who+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// inNetns runs f on a thread of its own that is in a named network namespace.
func inNetns(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes the namespace with it.
		runtime.LockOSThread()
		done <- func() error {
			file, err := os.Open(filepath.Join("/run/netns", name))
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace %s: %w", name, err)
			}
			return f()
		}()
	}()
	return <-done
}

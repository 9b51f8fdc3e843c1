package virttest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// guestXML is a domain as libvirt would print it, as far as anybody reads it.
func guestXML(name, uuid string) string {
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <uuid>%s</uuid>
  <title>the contract's guest</title>
  <memory unit='KiB'>131072</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>`, name, uuid)
}

func TestContractOnFake(t *testing.T) {
	Contract(t, func(t *testing.T, name string, test func(*testing.T, Bench)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				timing := Measured
				timing.KeepAlive = 4 * time.Second
				f := NewFleet([]string{"a", "b"}, WithTiming(timing))
				side := func(name string) Side {
					h := f.Host(name)
					return Side{
						Open: h.Opener(), URI: "qemu:///system", Peer: h.URI(), Exits: h,
						RestartLibvirtd: func() { h.KillLibvirtd(); h.StartLibvirtd() },
						Freeze:          h.Freeze, Thaw: h.Thaw,
						KillQEMU: func(string) { h.KillQEMU(guestUUID) },
					}
				}
				test(t, Bench{
					A: side("a"), B: side("b"), Guest: guestXML, SlowMiBs: 4,
					Busy: func(uuid string) { f.Host("a").SetLoad(uuid, 16<<20, 0) },
					Wait: func(d time.Duration) { synctest.Wait(); f.Advance(d) },
				})
			})
		})
	})
}

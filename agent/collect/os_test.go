package collect

import (
	"errors"
	"testing"

	"github.com/vireo-kvm/vireo/agent"
)

func TestCPU(t *testing.T) {
	c := &CPU{Proc: "testdata/proc"}
	same(t, look(t, c, t0), "")
	c.Proc = "testdata/proc2"
	same(t, look(t, c, t1), `
		cpu cpu_busy_ratio 0.8625
		cpu cpu_iowait_ratio 0.00125
	`)
}

func TestMemory(t *testing.T) {
	m := &Memory{Proc: "testdata/proc"}
	same(t, look(t, m, t0), `
		memory memory_total_bytes 2.52765e+10
		memory memory_available_bytes 2.46123e+10
		memory swap_used_bytes 0
		memory oom_kills 0
	`)
	if got, err := m.AvailableKiB(); err != nil || got != 24035468 {
		t.Errorf("AvailableKiB = %d, %v", got, err)
	}
}

func TestPressure(t *testing.T) {
	same(t, look(t, &Pressure{Proc: "testdata/proc"}, t0), `
		cpu psi_cpu_some_ratio 0.2518
		memory psi_memory_some_ratio 0
		memory psi_memory_full_ratio 0
		os psi_io_some_ratio 0.0283
		os psi_io_full_ratio 0.0215
	`)
	if _, err := (&Pressure{Proc: "testdata/proc2"}).Collect(t.Context(), t0); !errors.Is(err, ErrAbsent) {
		t.Errorf("a kernel without PSI: %v", err)
	}
}

func TestHeat(t *testing.T) {
	sys := grow(t, `
		class/hwmon/hwmon0/name: acpitz
		class/hwmon/hwmon0/temp1_input: 99000
		class/hwmon/hwmon1/name: coretemp
		class/hwmon/hwmon1/temp1_input: 51000
		class/hwmon/hwmon1/temp2_input: 63500
		class/hwmon/hwmon1/temp3_input: broken
		devices/system/cpu/cpu0/thermal_throttle/core_throttle_count: 4
		devices/system/cpu/cpu1/thermal_throttle/core_throttle_count: 3
		devices/system/cpu/cpufreq/
	`)
	same(t, look(t, &Heat{Sys: sys}, t0), `
		cpu cpu_temperature_celsius 63.5
		cpu cpu_throttle_events 7
	`)
	if _, err := (&Heat{Sys: t.TempDir()}).Collect(t.Context(), t0); !errors.Is(err, ErrAbsent) {
		t.Errorf("no sensors: %v", err)
	}
}

func TestEDAC(t *testing.T) {
	sys := grow(t, `
		devices/system/edac/mc/mc0/ce_count: 12
		devices/system/edac/mc/mc0/ce_noinfo_count: 1
		devices/system/edac/mc/mc0/ue_noinfo_count: 0
		devices/system/edac/mc/mc0/dimm0/dimm_location: channel 0 slot 0
		devices/system/edac/mc/mc0/dimm0/dimm_ce_count: 11
		devices/system/edac/mc/mc0/dimm0/dimm_ue_count: 0
		devices/system/edac/mc/mc0/dimm3/dimm_location: channel 1 slot 0
		devices/system/edac/mc/mc0/dimm3/dimm_ce_count: 0
		devices/system/edac/mc/mc0/power/
		devices/system/edac/mc/mc1/ce_count: 0
		devices/system/edac/mc/mc1/rank2/dimm_location: csrow 2 channel 1
		devices/system/edac/mc/mc1/rank2/dimm_ce_count: 5
		devices/system/edac/mc/mc1/rank2/dimm_ue_count: 1
		devices/system/edac/mc/power/
	`)
	same(t, look(t, &EDAC{Sys: sys}, t0), `
		mc:0 edac_ce_noinfo_count 1
		mc:0 edac_ue_noinfo_count 0
		dimm:0/0/0 edac_ce_count 11
		dimm:0/0/0 edac_ue_count 0
		dimm:0/1/0 edac_ce_count 0
		dimm:0/1/0 edac_ue_count absent
		mc:1 edac_ce_noinfo_count absent
		mc:1 edac_ue_noinfo_count absent
		dimm:1/2/1 edac_ce_count 5
		dimm:1/2/1 edac_ue_count 1
	`)
	if _, err := (&EDAC{Sys: t.TempDir()}).Collect(t.Context(), t0); !errors.Is(err, ErrAbsent) {
		t.Errorf("no EDAC: %v", err)
	}
}

func TestNetwork(t *testing.T) {
	sys := grow(t, `
		class/net/eth0/device/
		class/net/eth0/operstate: up
		class/net/eth0/carrier_changes: 3
		class/net/eth0/statistics/rx_errors: 7
		class/net/eth0/statistics/tx_errors: 0
		class/net/eth0/statistics/rx_dropped: 2
		class/net/eth0/statistics/rx_bytes: 1000
		class/net/eth0/statistics/tx_bytes: 2000
		class/net/eth1/device/
		class/net/eth1/operstate: unknown
		class/net/br0/operstate: up
		class/net/br0/statistics/rx_errors: 7
	`)
	same(t, look(t, &Network{Sys: sys}, t0), `
		nic:eth0 nic_up 1 "up"
		nic:eth0 nic_receive_errors 7
		nic:eth0 nic_transmit_errors 0
		nic:eth0 nic_receive_dropped 2
		nic:eth0 nic_carrier_changes 3
		nic:eth0 nic_receive_bytes 1000
		nic:eth0 nic_transmit_bytes 2000
		nic:eth1 nic_up "unknown"
		nic:eth1 nic_receive_errors absent
		nic:eth1 nic_transmit_errors absent
		nic:eth1 nic_receive_dropped absent
		nic:eth1 nic_carrier_changes absent
		nic:eth1 nic_receive_bytes absent
		nic:eth1 nic_transmit_bytes absent
	`)
	if _, err := (&Network{Sys: grow(t, "class/net/br0/operstate: up")}).Collect(t.Context(), t0); !errors.Is(err, ErrAbsent) {
		t.Errorf("no cards: %v", err)
	}
}

func TestDisk(t *testing.T) {
	sys := grow(t, `
		block/vda/device/
		block/vda/serial: V-1
		block/loop0/
		block/zram0/
	`)
	d := &Disk{Proc: "testdata/proc", Sys: sys, Drives: &Drives{Sys: sys}}
	same(t, look(t, d, t0), "")
	d.Proc = "testdata/proc2"
	same(t, look(t, d, t1), `
		disk:V-1 disk_busy_ratio 0.0032
		disk:V-1 disk_read_latency_seconds 0.000363636
		disk:V-1 disk_write_latency_seconds 0.00301515
	`)
	// A drive of the same name that counts from zero again gives no nonsense.
	d.Proc = "testdata/proc"
	same(t, look(t, d, t1.Add(t1.Sub(t0))), "")
}

func TestWithoutProc(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []Collector{&CPU{Proc: empty}, &Memory{Proc: empty}} {
		if _, err := c.Collect(t.Context(), t0); err == nil || errors.Is(err, ErrAbsent) {
			t.Errorf("%s on an empty /proc: %v; a host without it is broken", c.Name(), err)
		}
	}
}

// A sweep runs for ever on every host: it stays small.
func TestSweepIsLight(t *testing.T) {
	sys := grow(t, "block/vda/device/")
	sweep := []Collector{
		&CPU{Proc: "testdata/proc"}, &Memory{Proc: "testdata/proc"}, &Pressure{Proc: "testdata/proc"},
		&Disk{Proc: "testdata/proc", Sys: sys, Drives: &Drives{Sys: sys}},
	}
	var out []agent.Collected
	allocs := testing.AllocsPerRun(20, func() {
		out = out[:0]
		for _, c := range sweep {
			got, err := c.Collect(t.Context(), t0)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, got)
		}
	})
	if allocs > 3000 {
		t.Errorf("%.0f allocations in one sweep", allocs)
	}
}

// BenchmarkSweep looks at this machine.
func BenchmarkSweep(b *testing.B) {
	drives := &Drives{Sys: "/sys"}
	sweep := []Collector{
		&CPU{Proc: "/proc"}, &Memory{Proc: "/proc"}, &Pressure{Proc: "/proc"}, &Disk{Proc: "/proc", Sys: "/sys", Drives: drives},
		&Network{Sys: "/sys"}, &EDAC{Sys: "/sys"}, &Heat{Sys: "/sys"},
		&Dependencies{Proc: "/proc", Sys: "/sys", Dev: "/dev", Mounts: "/proc/self/mountinfo", Drives: drives},
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range sweep {
			if _, err := c.Collect(b.Context(), t0); err != nil && !errors.Is(err, ErrAbsent) {
				b.Fatal(err)
			}
		}
	}
}

package lab

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// nbdPort is the port of the disk of the guest with a number from 1 on.
func nbdPort(n int) int { return 10808 + n }

// GuestUUID is the UUID of the guest with a number from 1 on; always the same.
func GuestUUID(n int) string { return fmt.Sprintf("76697265-6f00-4000-8000-%012x", n) }

// flags are the arguments of the program inside the guest; separated by commas, because the kernel's command line has spaces of its own.
func (g GuestSpec) flags() string {
	return strings.Join([]string{
		"-name=" + g.Name,
		"-to=" + SwitchAddress,
		fmt.Sprintf("-dirty-mem=%d", g.DirtyMiB),
		fmt.Sprintf("-dirty-rate=%d", g.DirtyRate),
		"-disk=/dev/vda",
	}, ",")
}

// domainXML is the guest's definition. It is the same on every host.
func domainXML(g GuestSpec, img image) (string, error) {
	cmdline := fmt.Sprintf("console=ttyS0 quiet panic=1 reboot=t mitigations=off net.ifnames=0 cryptomgr.notests apparmor=0 audit=0 no_timer_check i8042.noaux i8042.nokbd vireo.address=%s/16 vireo.flags=%s", g.Address, g.flags())
	var escaped strings.Builder
	if err := xml.EscapeText(&escaped, []byte(cmdline)); err != nil {
		return "", err
	}
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%[1]s</name>
  <uuid>%[2]s</uuid>
  <memory unit='MiB'>%[3]d</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>%[4]s</kernel>
    <initrd>%[5]s</initrd>
    <cmdline>%[6]s</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <source protocol='nbd' name='%[1]s'>
        <host name='%[7]s' port='%[8]d'/>
      </source>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:77:02:%02[9]x'/>
      <source bridge='%[10]s'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'>
      <log file='/var/log/libvirt/qemu/%[1]s-console.log' append='on'/>
    </serial>
    <console type='pty'><target type='serial'/></console>
    <memballoon model='none'/>
  </devices>
</domain>
`, g.Name, g.UUID, g.MemoryMiB, img.Kernel, img.Initrd, escaped.String(), SwitchAddress, nbdPort(g.Number), g.Number, hostBridge), nil
}

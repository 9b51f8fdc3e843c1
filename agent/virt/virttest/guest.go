package virttest

import "fmt"

// GuestXML is a definition as libvirt would print it, as far as anybody reads it:
// one CPU, so much memory in KiB, a disk that every host reaches and a port on a
// bridge.
func GuestXML(name, uuid string, memory uint64) string {
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%[1]s</name>
  <uuid>%[2]s</uuid>
  <memory unit='KiB'>%[3]d</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact'><model>Nehalem</model></cpu>
  <devices>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <source protocol='nbd' name='%[1]s'><host name='10.77.0.1' port='10809'/></source>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'><source bridge='br0'/></interface>
  </devices>
</domain>`, name, uuid, memory)
}

// Command vireo-hook is what libvirtd executes, through the file that vireo-agent hook
// install writes: it asks the agent whether a guest may start or come here, and
// says no to libvirt if it may not. It is a program of its own because everybody's
// virsh list waits for it: vireo-agent takes 15 ms to load libvirt alone.
package main

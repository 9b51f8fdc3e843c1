package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelPackage is the Debian package that depends on the newest kernel for guests.
const kernelPackage = "linux-image-cloud-amd64"

// image is what a guest boots: two files under CacheDir.
type image struct {
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"`
}

// guestModules are the kernel's modules that a guest needs, with what they need themselves.
var guestModules = []string{"virtio_pci", "virtio_blk", "virtio_net"}

// initScript is the first process of a guest. Its settings come from the kernel's
// command line as vireo.NAME=VALUE; when the heartbeat program ends, the guest goes down.
const initScript = `#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in virtio_pci virtio_blk virtio_net; do modprobe $m; done
for word in $(cat /proc/cmdline); do
	case $word in
	vireo.address=*) address=${word#*=} ;;
	vireo.flags=*) flags=$(echo "${word#*=}" | tr , ' ') ;;
	esac
done
ip link set lo up
ip link set eth0 up
ip addr add "$address" dev eth0
echo "guest is up at $(cut -d' ' -f1 /proc/uptime)"
setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1' &
/guest $flags
echo "guest: the heartbeat program has ended"
poweroff -f
`

// prepareImage returns the guests' kernel and initramfs, made if the cache has
// none: the kernel is downloaded with apt-get and unpacked, not installed.
func prepareImage(ctx context.Context, bin string, say func(string)) (image, error) {
	if err := os.MkdirAll(CacheDir, 0o755); err != nil {
		return image{}, err
	}
	unlock, err := lockFile(filepath.Join(CacheDir, "lock"))
	if err != nil {
		return image{}, err
	}
	defer unlock()
	kernel, err := unpackedKernel(ctx, say)
	if err != nil {
		return image{}, fmt.Errorf("kernel for guests: %w", err)
	}
	program, err := os.ReadFile(filepath.Join(bin, "vireo-lab-guest"))
	if err != nil {
		return image{}, fmt.Errorf("the program that runs inside guests is missing (make build makes it): %w", err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return image{}, fmt.Errorf("busybox-static is missing: %w", err)
	}
	sum := sha256.New()
	for _, part := range [][]byte{program, busybox, []byte(initScript), []byte(kernel)} {
		sum.Write(part)
	}
	img := image{
		Kernel: filepath.Join(kernel, "vmlinuz"),
		Initrd: filepath.Join(CacheDir, "initramfs-"+hex.EncodeToString(sum.Sum(nil))[:16]+".cpio"),
	}
	if _, err := os.Stat(img.Initrd); err == nil {
		return img, nil
	}
	say("packing the guests' initramfs")
	old, err := filepath.Glob(filepath.Join(CacheDir, "initramfs-*"))
	if err != nil {
		return image{}, err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return image{}, err
		}
	}
	a := &archive{}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp", "lib", "lib/modules"} {
		a.dir(dir)
	}
	a.console("dev/console")
	a.file("init", []byte(initScript))
	a.file("bin/busybox", busybox)
	a.file("bin/sh", busybox)
	a.file("guest", program)
	if err := addModules(a, kernel); err != nil {
		return image{}, err
	}
	return img, writeWhole(img.Initrd, a.bytes())
}

// addModules adds the modules directory, cut down to what guests need, to the archive.
func addModules(a *archive, kernel string) error {
	tree := filepath.Join(kernel, "guest-modules")
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == tree {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "lib" && name != "lib/modules" {
				a.dir(name)
			}
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil {
			a.file(name, data)
		}
		return err
	})
}

// unpackedKernel returns the directory of the newest cached kernel: vmlinuz, and guest-modules with its own depmod.
func unpackedKernel(ctx context.Context, say func(string)) (string, error) {
	have, err := filepath.Glob(filepath.Join(CacheDir, "kernel-*", "complete"))
	if err != nil {
		return "", err
	}
	if len(have) > 0 {
		return filepath.Dir(have[len(have)-1]), nil
	}
	out, err := output(ctx, "", "apt-cache", "depends", "--important", kernelPackage)
	if err != nil {
		return "", err
	}
	var pkg string
	for line := range strings.Lines(out) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			pkg = "linux-image-" + p
		}
	}
	if pkg == "" {
		return "", fmt.Errorf("%s depends on no kernel; apt-get update may help", kernelPackage)
	}
	version := strings.TrimPrefix(pkg, "linux-image-")
	dir := filepath.Join(CacheDir, "kernel-"+version)
	tmp := dir + ".partial"
	if err := errors.Join(os.RemoveAll(tmp), os.RemoveAll(dir), os.MkdirAll(tmp, 0o755)); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	say("downloading " + pkg)
	if _, err := output(ctx, "", "sh", "-c", `cd "$1" && exec apt-get -q -o APT::Sandbox::User=root download "$2"`, "sh", tmp, pkg); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages", pkg, len(debs))
	}
	say("unpacking " + pkg)
	root := filepath.Join(tmp, "root")
	if _, err := output(ctx, "", "dpkg-deb", "-x", debs[0], root); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(root, "boot", "vmlinuz-"+version), filepath.Join(dir, "vmlinuz")); err != nil {
		return "", err
	}
	if err := pickModules(ctx, root, version, filepath.Join(dir, "guest-modules")); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644)
}

// pickModules copies the modules that guests need from an unpacked kernel into a tree of their own.
func pickModules(ctx context.Context, root, version, tree string) error {
	if _, err := output(ctx, "", "depmod", "-b", root, version); err != nil {
		return err
	}
	args := append([]string{"modprobe", "-d", root, "-S", version, "--show-depends", "-a"}, guestModules...)
	out, err := output(ctx, "", args...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
		if !ok {
			continue // builtin
		}
		path = strings.Fields(path)[0]
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(tree, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o644)); err != nil {
			return err
		}
	}
	// depmod reads these two to know what is built in.
	for _, f := range []string{"modules.builtin", "modules.order"} {
		data, err := os.ReadFile(filepath.Join(root, "lib/modules", version, f))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, "lib/modules", version, f), data, 0o644); err != nil {
			return err
		}
	}
	_, err = output(ctx, "", "depmod", "-b", tree, version)
	return err
}

// writeWhole writes a file so that it is there complete or not at all.
func writeWhole(path string, data []byte) error {
	tmp := path + ".partial"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// lockFile takes an exclusive lock that ends with the process or the returned function.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

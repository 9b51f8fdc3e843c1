package hostinit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enter gives the calling process, alone in new namespaces, the machine's view.
func enter(s Spec) error {
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	// From here on nothing mounted inside is seen outside, or the other way round.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private (in a chroot, bind it onto itself first): %w", err)
	}
	// Copies of the named network namespaces would keep them alive after their deletion.
	if err := unix.Unmount("/run/netns", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("let go of /run/netns: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if !s.Private {
		return nil
	}
	if err := letGo(s); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	for _, step := range []func(Spec) error{bindBoot, bindDisks, makeDev, makeRun} {
		if err := step(s); err != nil {
			return err
		}
	}
	return nil
}

// letGo detaches what the machine must not find in its mount table: the real
// machine's /sys with its control groups, and the other machines' disks.
func letGo(s Spec) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	labs := filepath.Dir(s.Mount) + "/"
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := f[4]
		others := strings.HasPrefix(at, labs) && !strings.HasPrefix(at+"/", s.Dir+"/")
		if at != "/sys" && !others {
			continue
		}
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("let go of %s: %w", at, err)
		}
	}
	return nil
}

// bind mounts from onto to, with everything that is mounted below.
func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// bindBoot gives the machine its boot id.
func bindBoot(s Spec) error {
	file := filepath.Join(s.Dir, "boot_id")
	if err := os.WriteFile(file, []byte(s.BootID+"\n"), 0o444); err != nil {
		return err
	}
	return bind(file, "/proc/sys/kernel/random/boot_id")
}

// bindDisks gives the machine its own /etc, /var and state directory, and the guests' kernel.
func bindDisks(s Spec) error {
	etc, v := filepath.Join(s.Disk(), "etc"), filepath.Join(s.Disk(), "var")
	for _, dir := range []string{"lib", "log", "cache", "tmp", "spool"} {
		if err := os.MkdirAll(filepath.Join(v, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(v, "tmp"), 0o1777); err != nil {
		return err
	}
	if err := link("/run", filepath.Join(v, "run")); err != nil {
		return err
	}
	if err := link("/run/lock", filepath.Join(v, "lock")); err != nil {
		return err
	}
	// What is needed from under the real /var and /run is bound before they are covered.
	for from, to := range map[string]string{
		s.Bin:         filepath.Join(s.Dir, "bin"),
		s.Cache:       filepath.Join(s.Disk(), s.Cache),
		s.StateDisk(): filepath.Join(s.Disk(), s.State),
	} {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := bind(from, to); err != nil {
			return err
		}
	}
	if err := bind(etc, "/etc"); err != nil {
		return err
	}
	if err := bind(v, "/var"); err != nil {
		return err
	}
	return unix.Mount("", s.Cache, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// link makes a symbolic link unless there is one.
func link(to, name string) error {
	if err := os.Symlink(to, name); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// makeDev puts a /dev together that has what libvirt and QEMU need and no /dev/kvm,
// which may exist on the real machine and hang every guest that opens it.
func makeDev(s Spec) error {
	m := s.Mount
	if err := unix.Mount("dev", m, "tmpfs", unix.MS_NOSUID, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	for name, id := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7), "random": unix.Mkdev(1, 8),
		"urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0), "net/tun": unix.Mkdev(10, 200),
	} {
		path := filepath.Join(m, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(id)); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(m, dir), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", filepath.Join(m, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("/dev/pts: %w", err)
	}
	if err := unix.Mount("shm", filepath.Join(m, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("/dev/shm: %w", err)
	}
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, filepath.Join(m, name)); err != nil {
			return err
		}
	}
	return move(m, "/dev")
}

// makeRun puts an empty /run together in which the machine's own directory is where it was.
func makeRun(s Spec) error {
	m := s.Mount
	if err := unix.Mount("run", m, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	own, err := filepath.Rel("/run", s.Dir)
	if err != nil {
		return err
	}
	for _, dir := range []string{own, "lock"} {
		if err := os.MkdirAll(filepath.Join(m, dir), 0o755); err != nil {
			return err
		}
	}
	if err := bind(s.Dir, filepath.Join(m, own)); err != nil {
		return err
	}
	return move(m, "/run")
}

func move(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to %s: %w", from, to, err)
	}
	return nil
}

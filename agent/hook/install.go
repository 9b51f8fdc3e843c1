package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where libvirt looks for hooks, and the file that is vireo's there.
const (
	Dir      = "/etc/libvirt/hooks/qemu.d"
	FileName = "vireo"
)

// File is the path of vireo's file among libvirt's hooks.
func File() string { return filepath.Join(Dir, FileName) }

// signature is the second line of every file that is vireo's.
const signature = "# vireo's hook for libvirt, written by vireo-agent hook install."

// ErrForeign says that the file is there and somebody else's.
var ErrForeign = errors.New("is not vireo's: it stays as it is")

// Script is what libvirtd executes: it lets every operation pass that must not be
// refused before anything else can fail. When the program has been removed it
// has no say any more.
func Script(program, config string) string {
	return `#!/bin/sh
` + signature + `
# To end it: vireo-agent hook uninstall
case "$2 $3" in
"prepare begin" | "migrate begin" | "restore begin") ;;
*) exit 0 ;;
esac
[ -x ` + quote(program) + ` ] || exit 0
exec ` + quote(program) + ` ` + quote(config) + ` "$@"
`
}

// quote writes s as one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Install writes the script to path. It says whether the file has changed.
func Install(path, script string) (changed bool, err error) {
	old, err := Installed(path)
	switch {
	case err != nil:
		return false, err
	case old == script:
		return false, os.Chmod(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	// libvirtd executes whatever is in the directory: the new file waits outside.
	f, err := os.CreateTemp(filepath.Dir(filepath.Dir(path)), ".vireo-*")
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(script)
	if err = errors.Join(err, f.Chmod(0o755), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of the attempt
		return false, fmt.Errorf("install %s: %w", path, err)
	}
	return true, nil
}

// Installed returns vireo's script at path, "" when nothing is there; ErrForeign
// when something else is.
func Installed(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	lines := strings.SplitN(string(text), "\n", 3)
	if len(lines) < 2 || lines[1] != signature {
		return "", fmt.Errorf("%s %w", path, ErrForeign)
	}
	return string(text), nil
}

// Uninstall removes vireo's script; it says whether there was one.
func Uninstall(path string) (bool, error) {
	old, err := Installed(path)
	if err != nil || old == "" {
		return false, err
	}
	return true, os.Remove(path)
}

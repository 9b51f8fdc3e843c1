package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// machineID names this installation of an operating system, machine-id(5).
const machineID = "/etc/machine-id"

// homeOf tells a database from its copies: the machine and the file's inode,
// which neither a copy on the same machine nor one elsewhere shares. A file
// system that is put back as a whole has both; what agents have seen since then
// gives that away.
func homeOf(path string) (string, error) {
	id, err := os.ReadFile(machineID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("inode %d on machine %s", inode, strings.TrimSpace(string(id))), nil
}

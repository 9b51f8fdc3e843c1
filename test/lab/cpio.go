package lab

import (
	"bytes"
	"fmt"
)

// archive builds a cpio archive in the "newc" format that Linux takes as initramfs.
type archive struct {
	buf   bytes.Buffer
	inode int
}

func (a *archive) add(name string, mode uint32, major, minor int, data []byte) {
	a.inode++
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(data)
	a.pad()
}

// pad fills up to a multiple of four bytes, as the format wants it.
func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

func (a *archive) dir(name string)               { a.add(name, 0o040755, 0, 0, nil) }
func (a *archive) file(name string, data []byte) { a.add(name, 0o100755, 0, 0, data) }
func (a *archive) console(name string)           { a.add(name, 0o020600, 5, 1, nil) }

// bytes ends the archive.
func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, 0, 0, nil)
	return a.buf.Bytes()
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
)

// outFile is a file that appears whole or not at all: it is written beside its
// place and moved there by commit. abandon, which does nothing after commit,
// removes what was written so far.
type outFile struct {
	*bufio.Writer
	file *os.File
	path string
}

func createOut(path string) (*outFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &outFile{bufio.NewWriterSize(f, 1<<16), f, path}, nil
}

func (o *outFile) commit() error {
	err := errors.Join(o.Flush(), o.file.Chmod(0o644), o.file.Sync(), o.file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(o.file.Name()))
	}
	return os.Rename(o.file.Name(), o.path)
}

func (o *outFile) abandon() {
	if o.file.Close() == nil { // else it is committed
		os.Remove(o.file.Name())
	}
}

// writeTo makes a file of what write writes. What write returns is about its
// input; a file that can't be written is a failure of its own.
func writeTo(path string, write func(w io.Writer) error) error {
	o, err := createOut(path)
	if err != nil {
		return err
	}
	defer o.abandon()
	if err := write(o); err != nil {
		if _, full := o.Write(nil); full != nil { // the buffer keeps the first error
			return full
		}
		return badInput(err)
	}
	return o.commit()
}

// writeWhole makes a file of content.
func writeWhole(path string, content []byte) error {
	return writeTo(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// progressEvery is how often long work says how far it is.
const progressEvery = 5 * time.Second

// progress says on stderr how far long work is, not too often. Work that nobody
// waits for any more may still use it.
type progress struct {
	mu          sync.Mutex
	w           io.Writer // nil: nothing is said any more
	start, last time.Time
}

func newProgress(c *cli.Context) *progress {
	now := time.Now()
	return &progress{w: c.App.ErrWriter, start: now, last: now}
}

// step is said at once.
func (p *progress) step(format string, args ...any) { p.say(0, format, args...) }

// at is said when nothing was for a while.
func (p *progress) at(format string, args ...any) { p.say(progressEvery, format, args...) }

func (p *progress) say(silence time.Duration, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.w == nil || now.Sub(p.last) < silence {
		return
	}
	p.last = now
	fmt.Fprintf(p.w, "%4.0fs  %s\n", now.Sub(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// end makes sure that nothing is said after it.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w = nil
}

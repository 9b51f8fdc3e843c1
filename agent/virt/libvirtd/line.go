package libvirtd

import (
	"errors"
	"time"

	"libvirt.org/go/libvirt"
)

// Why a conn has more than one connection to its libvirtd
//
// libvirt's client lets the thread that waits for an answer read the socket for
// all others, and tells it by a wake-up that another one wants to write. Before
// libvirt 11 that wake-up is lost when the reader is just going back to sleep:
// the other call then starts only with the next packet that comes, which may be
// a keepalive seconds later. Calls that follow each other closely meet that
// moment often (a list of domains took 3 s instead of 3 ms), but only while
// another call of the same connection waits for long. So what may wait for long
// gets a connection of its own: each migration, and the questions for jobs.

// dial opens a connection without events.
func dial(uri string, o Options) (*libvirt.Connect, error) {
	lv, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, err
	}
	if err := keepAlive(lv, o); err != nil {
		hangUp(lv)
		return nil, err
	}
	return lv, nil
}

func keepAlive(lv *libvirt.Connect, o Options) error {
	err := lv.SetKeepAlive(int(o.KeepAliveInterval/time.Second), o.KeepAliveCount)
	var e libvirt.Error
	if errors.As(err, &e) && e.Code == libvirt.ERR_NO_SUPPORT {
		return nil // a driver inside this process, which can't be silent
	}
	return err
}

func hangUp(lv *libvirt.Connect) { _, _ = lv.Close() } // what is closed can't fail in a way that matters

// line is the connection on which jobs are asked for, until a question is stuck
// on it; then the next question opens another one.
type line struct {
	lv      *libvirt.Connect
	users   int
	retired bool
}

// borrow gives the line of now. Return it with giveBack.
func (c *conn) borrow() (*line, error) {
	c.lineMu.Lock()
	defer c.lineMu.Unlock()
	if c.line == nil {
		lv, err := dial(c.uri, c.opts)
		if err != nil {
			return nil, err
		}
		c.line = &line{lv: lv}
	}
	c.line.users++
	return c.line, nil
}

func (c *conn) giveBack(l *line) {
	c.lineMu.Lock()
	l.users--
	over := l.retired && l.users == 0
	c.lineMu.Unlock()
	if over {
		hangUp(l.lv)
	}
}

// retire lets the line end with its last user.
func (c *conn) retire(l *line) {
	c.lineMu.Lock()
	if c.line == l {
		c.line = nil
	}
	over := !l.retired && l.users == 0
	l.retired = true
	c.lineMu.Unlock()
	if over {
		hangUp(l.lv)
	}
}

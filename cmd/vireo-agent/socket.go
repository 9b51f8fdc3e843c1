package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/agent/hook"
)

// Limits of the agent's socket. A hook that is slow to speak is given up on long
// before libvirt's user is.
const (
	hooksAtOnce = 256
	hearHook    = time.Second
	tellHook    = 5 * time.Second // the answer's wait and its way back
)

// answerer answers one question of libvirt's hook.
type answerer func(ctx context.Context, r hook.Request) (hook.Answer, error)

// listenHook opens the socket: root's and the agent's own. One that an earlier
// agent has left is replaced.
func listenHook(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agent socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("agent socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("agent socket: %w", err), l.Close())
	}
	return l, nil
}

// serveHook answers until ctx ends. It returns when every question has its
// answer.
func serveHook(ctx context.Context, l *net.UnixListener, answer answerer, log *slog.Logger) {
	var all sync.WaitGroup
	defer all.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	room := make(chan struct{}, hooksAtOnce)
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Warn("agent socket", "error", err)
			select {
			case <-time.After(100 * time.Millisecond): // out of files, perhaps
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			_ = conn.Close() // the hook decides alone
			continue
		}
		all.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			if err := converse(ctx, conn, answer); err != nil {
				log.Warn("hook not answered", "error", err)
			}
		})
	}
}

func converse(ctx context.Context, conn *net.UnixConn, answer answerer) error {
	if err := trusted(conn); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(hearHook)); err != nil {
		return err
	}
	r, err := hook.ReadRequest(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellHook)
	defer cancel()
	a, err := answer(ctx, r)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(hearHook)); err != nil {
		return err
	}
	return hook.Write(conn, a)
}

// trusted lets root speak, and whoever the agent is.
func trusted(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var who *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if who.Uid != 0 && int(who.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d is neither root nor the agent", who.Uid)
	}
	return nil
}

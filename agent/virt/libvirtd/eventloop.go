package libvirtd

/*
#cgo pkg-config: libvirt
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

static const char *run_events(void) {
	while (virEventRunDefaultImpl() >= 0)
		;
	return virGetLastErrorMessage();
}
*/
import "C"

import (
	"log/slog"
	"sync"
	"time"

	"libvirt.org/go/libvirt"
)

var loop struct {
	once sync.Once
	err  error
}

// startLoop runs libvirt's event loop for the rest of the process.
//
// The loop wakes up twice for each call of each connection, and stays in C all
// the while: a return to Go each time would cost more than the loop itself,
// because Go's scheduler watches closely whoever goes into C again.
func startLoop(log *slog.Logger) error {
	loop.once.Do(func() {
		if loop.err = libvirt.EventRegisterDefaultImpl(); loop.err != nil {
			return
		}
		go func() {
			for {
				reason := C.run_events()
				log.Error("libvirt's event loop", "reason", C.GoString(reason))
				time.Sleep(time.Second) // an error that stays must not burn a CPU
			}
		}()
	})
	return loop.err
}

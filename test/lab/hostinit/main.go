package hostinit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// Main is the first process of the machine with a directory. It returns only on
// an error, or when ctx is done; either way the machine ends with it.
func Main(ctx context.Context, dir string) error {
	if os.Getpid() != 1 {
		return errors.New("this is the first process of a machine of the lab and is started by vireo-lab up")
	}
	if err := wait(); err != nil {
		return err
	}
	spec, err := Read(dir)
	if err != nil {
		return err
	}
	if err := enter(spec); err != nil {
		return fmt.Errorf("machine %s: %w", spec.Name, err)
	}
	if err := os.Remove(spec.Control()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", spec.Control())
	if err != nil {
		return err
	}
	return supervise.New().Run(ctx, l, spec.Services)
}

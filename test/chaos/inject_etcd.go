package chaos

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// hurtEtcd does what is done to the cluster or to the way to it.
func (r *runner) hurtEtcd(ctx context.Context, f Fault) (undoing, error) {
	nodes := r.lab.EtcdNames()
	if len(nodes) < 3 {
		return nil, fmt.Errorf("the lab has %d nodes of etcd", len(nodes))
	}
	node, next := nodes[f.Pick%len(nodes)], nodes[(f.Pick+1)%len(nodes)]
	switch f.Kind {
	case KillEtcd:
		return nil, r.signal(ctx, f, node, "etcd", unix.SIGKILL)
	case StopEtcd:
		return r.stopFor(ctx, f, node, "etcd")
	case CutEtcd:
		f.Host = r.manager(ctx, f)
		return r.cut(ctx, f, f.Host, nodes, false)
	}
	first, err := r.stopFor(ctx, f, node, "etcd")
	if err != nil {
		return nil, err
	}
	second, err := r.stopFor(ctx, f, next, "etcd")
	if err != nil {
		return nil, errors.Join(err, first(ctx))
	}
	return func(ctx context.Context) error { return errors.Join(first(ctx), second(ctx)) }, nil
}

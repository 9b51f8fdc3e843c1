package etcd_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/store/storetest"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefixes gives each test a store of its own in one etcd.
var prefixes atomic.Int64

func freshPrefix() string { return fmt.Sprintf("/test%d/", prefixes.Add(1)) }

func TestStore(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	storetest.Run(t, func(t *testing.T) storetest.Place {
		prefix := freshPrefix()
		return func() (store.Store, error) {
			return open(t, etcd.Options{Endpoints: cluster.Endpoints(), Prefix: prefix})
		}
	})
}

// open opens a store, or says after a while why not.
func open(t testing.TB, o etcd.Options) (*etcd.DB, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return etcd.Open(ctx, o)
}

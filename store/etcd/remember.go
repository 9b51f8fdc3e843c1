package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
)

// remembered is what the file at Options.Memory says of the store that this
// manager works with.
type remembered struct {
	Cluster    string `json:"cluster"` // etcd's id, in hex as etcdctl shows it
	Store      string `json:"store"`
	Generation uint64 `json:"generation"` // the highest of (generation, term) that this manager has seen
	Term       uint64 `json:"term"`
}

// meet asks etcd who it is, and compares.
func (c *client) meet(ctx context.Context) error {
	resp, err := try(ctx, attempt, func(ctx context.Context) (*clientv3.GetResponse, error) { return c.etcd.Get(ctx, c.key(headKey)) })
	if err != nil {
		return err
	}
	c.cluster = resp.Header.ClusterId
	var h head
	if len(resp.Kvs) > 0 {
		if h, err = decodeHead(resp.Kvs[0].Value); err != nil {
			return err
		}
	}
	return c.recognise(h)
}

// recognise refuses a head that is not of the remembered store.
func (c *client) recognise(h head) error {
	was, err := c.recall()
	if err != nil {
		return err
	}
	c.store = h.Store
	if was.Store == "" || c.o.Renew {
		return nil
	}
	hint := fmt.Sprintf("; if it was restored or replaced on purpose, run vireo store renew here, and remove %s on the other managers", c.o.Memory)
	switch {
	case was.Cluster != clusterID(c.cluster):
		return fmt.Errorf("it is cluster %s, this manager works with cluster %s%s: %w", clusterID(c.cluster), was.Cluster, hint, store.ErrForeign)
	case h.Store == "":
		return fmt.Errorf("there is no store under %s, this manager works with store %s%s: %w", c.o.Prefix, was.Store, hint, store.ErrForeign)
	case h.Store != was.Store:
		return fmt.Errorf("under %s is store %s, this manager works with store %s%s: %w", c.o.Prefix, h.Store, was.Store, hint, store.ErrForeign)
	}
	return nil
}

// same refuses an answer of another cluster.
func (c *client) same(cluster uint64) error {
	if cluster != c.cluster {
		return fmt.Errorf("cluster %s answered, not %s: %w", clusterID(cluster), clusterID(c.cluster), store.ErrForeign)
	}
	return nil
}

func clusterID(id uint64) string { return strconv.FormatUint(id, 16) }

// recall reads the file; nothing is remembered when there is none.
func (c *client) recall() (was remembered, err error) {
	if c.o.Memory == "" {
		return was, nil
	}
	b, err := os.ReadFile(c.o.Memory)
	if errors.Is(err, fs.ErrNotExist) {
		return was, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		return was, fmt.Errorf("which store this manager works with: %s: %w", c.o.Memory, err)
	}
	return was, nil
}

// remember writes the file, whole or not at all, and returns when it is on disk:
// a power failure that takes etcd's last seconds as well must not take what tells
// that they are missing.
func (c *client) remember(h head) error {
	if c.o.Memory == "" {
		return nil
	}
	b, err := json.Marshal(remembered{Cluster: clusterID(c.cluster), Store: h.Store, Generation: h.Generation, Term: h.Term})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.o.Memory), ".store.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its place
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.o.Memory)
	}
	if err == nil {
		err = syncDir(filepath.Dir(c.o.Memory))
	}
	if err != nil {
		return fmt.Errorf("remember which store this is: %w", err)
	}
	return nil
}

// syncDir brings the names in a directory to the disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

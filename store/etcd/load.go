package etcd

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/btree"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
)

// load reads everything as it was at a revision, at which head is h. What is
// staged lies over it, and comes back as what has yet to be put in its place.
func (c *client) load(ctx context.Context, h head, revision int64) (*btree.BTreeG[item], []change, error) {
	tree := newTree()
	from, end := c.o.Prefix, clientv3.GetPrefixRangeEnd(c.o.Prefix)
	for {
		resp, err := try(ctx, pageAttempt, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return c.etcd.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(pageSize))
		})
		if err != nil {
			return nil, nil, fmt.Errorf("read everything: %w", err)
		}
		for _, kv := range resp.Kvs {
			if k := string(kv.Key[len(c.o.Prefix):]); kept(k) {
				tree.ReplaceOrInsert(item{k, kv.Value})
			}
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	staged, err := c.readStaged(ctx, h, revision)
	if err != nil {
		return nil, nil, err
	}
	apply(tree, staged)
	return tree, staged, nil
}

func stagedPart(n int) string { return fmt.Sprintf("%s%06d", stagedKeys, n) }

func (c *client) readStaged(ctx context.Context, h head, revision int64) ([]change, error) {
	var all []change
	for n := range h.Staged {
		resp, err := try(ctx, attempt, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return c.etcd.Get(ctx, c.key(stagedPart(n)), clientv3.WithRev(revision))
		})
		if err != nil {
			return nil, err
		}
		if len(resp.Kvs) == 0 {
			return nil, fmt.Errorf("%s of %d is missing: %w", stagedPart(n), h.Staged, store.ErrCorrupt)
		}
		changes, err := unpackChanges(resp.Kvs[0].Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stagedPart(n), err)
		}
		all = append(all, changes...)
	}
	return all, nil
}

// packChanges writes changes into parts: each is a key and a value with their
// lengths in front, the value's plus one, 0 for a deletion.
func packChanges(changes []change) (parts [][]byte) {
	var b []byte
	for _, c := range changes {
		if len(b) > 0 && len(b)+len(c.key)+len(c.value) > partSize {
			parts, b = append(parts, b), nil
		}
		b = binary.AppendUvarint(b, uint64(len(c.key)))
		b = append(b, c.key...)
		if c.value == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(c.value))+1)
		b = append(b, c.value...)
	}
	return append(parts, b)
}

func unpackChanges(b []byte) ([]change, error) {
	take := func(minus uint64) ([]byte, bool, error) {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size)+minus {
			return nil, false, fmt.Errorf("cut short: %w", store.ErrCorrupt)
		}
		b = b[size:]
		if n < minus {
			return nil, false, nil
		}
		v := b[: n-minus : n-minus]
		b = b[n-minus:]
		return v, true, nil
	}
	var all []change
	for len(b) > 0 {
		k, _, err := take(0)
		if err != nil {
			return nil, err
		}
		v, some, err := take(1)
		if err != nil {
			return nil, err
		}
		if some && v == nil {
			v = []byte{}
		}
		all = append(all, change{string(k), v})
	}
	return all, nil
}

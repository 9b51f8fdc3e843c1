package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
)

// commit makes changes and a new head true, durably and all at once, and returns
// the head as it then is. What it leaves staged is owed to finish.
func (db *DB) commit(h head, changes []change) (head, error) {
	ctx, cancel := db.whileLeading()
	defer cancel()
	if len(bundles(changes)) <= 1 {
		return h, db.replace(ctx, h, changes)
	}
	parts := packChanges(changes)
	last := len(parts) - 1
	for n, p := range parts[:last] {
		if err := db.write(ctx, []change{{stagedPart(n), p}}); err != nil {
			return h, err
		}
	}
	h.Staged = len(parts)
	err := db.replace(ctx, h, []change{{stagedPart(last), parts[last]}})
	if err == nil {
		db.staged = changes
	}
	return h, err
}

// finish puts what a commit has staged in its places.
func (db *DB) finish() error {
	if db.staged == nil {
		return nil
	}
	ctx, cancel := db.whileLeading()
	defer cancel()
	for _, c := range bundles(db.staged) {
		if err := db.write(ctx, c); err != nil {
			return fmt.Errorf("put in place what is staged: %w", err)
		}
	}
	s := db.state()
	h := s.head
	h.Serial++
	h.Staged = 0
	if err := db.replace(ctx, h, []change{{stagedKeys, nil}}); err != nil {
		return fmt.Errorf("forget what was staged: %w", err)
	}
	db.staged = nil
	db.now.Store(&state{head: h, tree: s.tree})
	return nil
}

// bundles cuts changes into what one transaction can take. Each change alone fits.
func bundles(changes []change) (all [][]change) {
	begin, size := 0, 0
	for i, c := range changes {
		n := len(c.key) + len(c.value) + overhead
		if i > begin && (i-begin >= maxOps || size+n > maxBytes) {
			all = append(all, changes[begin:i])
			begin, size = i, 0
		}
		size += n
	}
	if begin < len(changes) {
		all = append(all, changes[begin:])
	}
	return all
}

// fence is what every transaction of this leader needs: nobody has written since,
// and its lease stands.
func (db *DB) fence() []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(db.c.key(headKey)), "=", db.revision),
		clientv3.Compare(clientv3.CreateRevision(db.won.key), "=", db.won.revision),
	}
}

func (db *DB) operations(changes []change) []clientv3.Op {
	var ops []clientv3.Op
	for _, c := range changes {
		switch k := db.c.key(c.key); {
		case c.value == nil && strings.HasSuffix(c.key, "/"):
			ops = append(ops, clientv3.OpDelete(k, clientv3.WithPrefix()))
		case c.value == nil:
			ops = append(ops, clientv3.OpDelete(k))
		default:
			ops = append(ops, clientv3.OpPut(k, string(c.value)))
		}
	}
	return ops
}

// write does changes that do not count before head says so, or that may happen
// twice. head stays.
func (db *DB) write(ctx context.Context, changes []change) error {
	_, err := db.transact(ctx, head{}, db.operations(changes))
	return err
}

// replace does changes together with a new head.
func (db *DB) replace(ctx context.Context, h head, changes []change) error {
	b, err := encode(h)
	if err != nil {
		return err
	}
	ops := append([]clientv3.Op{clientv3.OpPut(db.c.key(headKey), string(b))}, db.operations(changes)...)
	revision, err := db.transact(ctx, h, ops)
	if err == nil {
		db.revision = revision
	}
	return err
}

// transact does the operations if the fence stands, and returns the revision. It
// is repeated while the answer is unknown: h, when its serial is not 0, is the
// head among the operations, by which one that has happened is known.
func (db *DB) transact(ctx context.Context, h head, ops []clientv3.Op) (int64, error) {
	for repeated := false; ; repeated = true {
		actx, cancel := context.WithTimeout(ctx, attempt)
		resp, err := db.c.etcd.Txn(actx).If(db.fence()...).Then(ops...).Else(clientv3.OpGet(db.c.key(headKey))).Commit()
		cancel()
		switch {
		case err == nil && resp.Succeeded:
			return resp.Header.Revision, db.c.same(resp.Header.ClusterId)
		case err == nil:
			if err := db.c.same(resp.Header.ClusterId); err != nil {
				return 0, err
			}
			return db.overtaken(h, resp, repeated)
		case !unsure(err) && !repeated:
			return 0, translate(err)
		case ctx.Err() != nil, db.closing():
			return 0, fmt.Errorf("whether it happened is unknown: %w", errors.Join(err, ctx.Err()))
		}
		if err := wait(ctx, pause); err != nil {
			return 0, fmt.Errorf("whether it happened is unknown: %w", err)
		}
	}
}

// overtaken finds out what a fence that does not stand means.
func (db *DB) overtaken(h head, resp *clientv3.TxnResponse, repeated bool) (int64, error) {
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, fmt.Errorf("the store is gone: %w", store.ErrFenced)
	}
	now, err := decodeHead(kvs[0].Value)
	if err != nil {
		return 0, err
	}
	if h.Serial != 0 && now.Instance == h.Instance && now.Serial == h.Serial {
		return kvs[0].ModRevision, nil // it was done when it was asked for before
	}
	db.lose()
	if now.Instance == db.Identity().Instance {
		return 0, fmt.Errorf("the lease of term %d has ended: %w", now.Term, store.ErrFenced)
	}
	mine := db.Identity()
	if repeated && h.Serial != 0 {
		// It may have been done before the other took over.
		return 0, fmt.Errorf("term %d has begun, and whether it happened in term %d is unknown", now.Term, mine.Term)
	}
	return 0, fmt.Errorf("generation %d term %d of instance %s, this is generation %d term %d of instance %s: %w",
		now.Generation, now.Term, now.Instance, mine.Generation, mine.Term, mine.Instance, store.ErrFenced)
}

// sorted is a transaction's changes in the order of their keys.
func sorted(changes map[string][]byte) []change {
	all := make([]change, 0, len(changes))
	for k, v := range changes {
		all = append(all, change{k, v})
	}
	slices.SortFunc(all, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return all
}

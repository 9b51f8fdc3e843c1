package stores

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// What SettingMoved says of a store whose records are on their way, and of one
// whose records have arrived; the id of the move follows.
const (
	moving = "moving "
	moved  = "moved "
)

// Open opens the store of a kind that the configuration names, for itself alone:
// a manager that runs on it is an error.
func Open(ctx context.Context, cfg configs.Manager, kind string) (store.Importer, error) {
	switch kind {
	case configs.StoreSQLite:
		return sqlite.Open(ctx, cfg.Database())
	case configs.StoreEtcd:
		o, err := Etcd(cfg)
		if err != nil {
			return nil, err
		}
		o.Address = "" // nobody is to come here
		db, err := etcd.Open(ctx, o)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w; stop every manager first", err)
		}
		return db, err
	}
	return nil, fmt.Errorf("%q is no store: expected %s or %s", kind, configs.StoreSQLite, configs.StoreEtcd)
}

// Renew takes the etcd that the configuration names as the store, whatever it
// holds, in a new generation.
func Renew(ctx context.Context, cfg configs.Manager) (store.Identity, error) {
	o, err := Etcd(cfg)
	if err != nil {
		return store.Identity{}, err
	}
	o.Address, o.Renew = "", true
	db, err := etcd.Open(ctx, o)
	if err != nil {
		return store.Identity{}, err
	}
	id := db.Identity()
	return id, db.Close()
}

// Usable is an error when a store's records have moved, or are on their way, to
// another one: no manager may run on it.
func Usable(ctx context.Context, s store.Store) error {
	mark, err := markOf(ctx, s)
	if err != nil || mark.Value == "" {
		return err
	}
	text := "have moved to another one"
	if strings.HasPrefix(mark.Value, moving) {
		text = "are being moved to another one, which was not finished"
	}
	return fmt.Errorf("the records of this store %s (%s, since %s); change store in manager.toml, or run: vireo store migrate",
		text, mark.Reason, mark.At.Format(time.RFC3339))
}

func markOf(ctx context.Context, s store.Store) (mark store.Setting, err error) {
	err = s.View(ctx, func(r store.Reader) error {
		mark, err = r.Setting(store.SettingMoved)
		if errors.Is(err, store.ErrNotFound) {
			mark, err = store.Setting{}, nil
		}
		return err
	})
	return mark, err
}

// Move moves all records from one store to another, and checks that both hold the
// same. Either the old store is the one that managers run on, or the new one is;
// interrupted anywhere, another Move finishes what the first has begun. where says
// in words which two stores these are.
func Move(ctx context.Context, from, to store.Importer, where string, now time.Time) (store.Whole, error) {
	id, err := begin(ctx, from, where, now)
	if err != nil {
		return store.Whole{}, fmt.Errorf("mark the old store: %w", err)
	}
	whole, err := store.ReadWhole(ctx, from)
	if err != nil {
		return whole, fmt.Errorf("read the old store: %w", err)
	}
	arrived, err := cameWith(ctx, to, id)
	if err != nil {
		return whole, fmt.Errorf("look at the new store: %w", err)
	}
	if !arrived {
		if err := to.Import(ctx, whole, id); err != nil {
			return whole, fmt.Errorf("the new store: %w", err)
		}
	}
	got, err := store.ReadWhole(ctx, to)
	if err != nil {
		return whole, fmt.Errorf("read the new store: %w", err)
	}
	if got.Epoch > whole.Epoch { // it was used before; epochs never go back
		whole.Epoch = got.Epoch
	}
	if d := whole.Differs(got); d != "" {
		return whole, fmt.Errorf("the two stores do not hold the same: %s", d)
	}
	mark := store.Setting{Key: store.SettingMoved, Value: moved + id, Reason: where, At: now}
	if err := from.Update(ctx, func(tx store.Tx) error { return tx.PutSetting(mark) }); err != nil {
		return whole, fmt.Errorf("mark the old store: %w", err)
	}
	return whole, nil
}

// begin marks the old store, so that no manager runs on it from now on, and
// returns the id of the move: that of one that was begun before.
func begin(ctx context.Context, from store.Store, where string, now time.Time) (id string, err error) {
	mark, err := markOf(ctx, from)
	if err != nil {
		return "", err
	}
	if id, ok := strings.CutPrefix(mark.Value, moved); ok {
		return "", fmt.Errorf("its records moved before (%s, %s, %s): %w", mark.Reason, id, mark.At.Format(time.RFC3339), store.ErrInvalid)
	}
	if id, ok := strings.CutPrefix(mark.Value, moving); ok {
		return id, nil
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	id = hex.EncodeToString(b[:])
	mark = store.Setting{Key: store.SettingMoved, Value: moving + id, Reason: where, At: now}
	return id, from.Update(ctx, func(tx store.Tx) error { return tx.PutSetting(mark) })
}

// cameWith says whether the new store holds what this move brought.
func cameWith(ctx context.Context, to store.Store, id string) (yes bool, err error) {
	err = to.View(ctx, func(r store.Reader) error {
		s, err := r.Setting(store.SettingFrom)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		yes = s.Value == id
		return err
	})
	return yes, err
}

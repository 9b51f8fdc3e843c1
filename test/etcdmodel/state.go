package etcdmodel

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/google/btree"

	"github.com/vireo-kvm/vireo/store"
)

// head is what every commit replaces.
type head struct {
	Generation, Term uint64
	Instance, Leader string
	Epoch            uint64 // the last one given out
	Event            uint64 // the last id given out
}

// state is everything after one commit. It is never changed: the next one is made
// from a clone of the tree, which shares what did not change.
type state struct {
	head     head
	tree     *btree.BTreeG[item]
	revision uint64
}

// item is one record, never changed in place.
type item struct {
	key   string
	value any // a record of package store or migration, never a pointer to one
}

func newTree() *btree.BTreeG[item] {
	return btree.NewG(32, func(a, b item) bool { return a.key < b.key })
}

// kind is the first part of a record's key.
type kind string

const (
	hosts     kind = "host"
	claims    kind = "claim"
	rows      kind = "migration"
	debts     kind = "owed"
	decisions kind = "decision"
	events    kind = "event"
	settings  kind = "setting"
	tokens    kind = "token"
	domains   kind = "domain"
)

// key joins names, none of which reaches into another's.
func key(k kind, names ...string) string {
	return string(k) + "\x00" + strings.Join(names, "\x00")
}

// eventKey sorts as the id does.
func eventKey(id uint64) string { return key(events, fmt.Sprintf("%020d", id)) }

var timeType = reflect.TypeFor[time.Time]()

// detached is a record that shares no memory with v, with its times as a store
// gives them back: in UTC, without a monotonic reading. A number that is none is
// ErrInvalid.
func detached[T any](v T) (T, error) {
	err := detach(reflect.ValueOf(&v).Elem())
	return v, err
}

func detach(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%v is no number: %w", f, store.ErrInvalid)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		v.Set(c)
		return detach(c.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := detach(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(v.Interface().(time.Time).Round(0).UTC()))
			return nil
		}
		for i := range v.NumField() {
			if err := detach(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// epoch0 is when the suite's time begins: any instant, with nanoseconds.
var epoch0 = time.Date(2026, 11, 23, 17, 0, 0, 123456789, time.UTC)

// after is a time of the suite, in minutes.
func after(minutes int) time.Time { return epoch0.Add(time.Duration(minutes) * time.Minute) }

// filled sets every field of a T, however deep, to a value of its own, so that a
// field that an engine forgets or swaps is noticed.
func filled[T any](t *testing.T, seed int) T {
	t.Helper()
	var v T
	n := seed * 1000
	fill(t, reflect.ValueOf(&v).Elem(), &n)
	return v
}

func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(after(*n)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("%s-%d-ü'\"", v.Type().Name(), *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 251))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	default:
		t.Fatalf("cannot fill a %s", v.Type())
	}
}

// same fails with both values when they differ.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// host is a plain host.
func host(name string) store.Host {
	return store.Host{Name: name, State: store.Healthy, Enrolled: epoch0}
}

package main

import (
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

type options struct {
	data   string
	python string
	days   []time.Time // T of each comparison
	thirds int         // how many thirds of the drives are judged
	peers  []string    // of peers.py, to compare with
	unseen bool        // judge single families by models that never saw them, too
	speed  bool
}

func main() {
	var o options
	days := flag.String("days", "2014-09-01,2015-02-01,2015-05-15", "days T that split training from judging")
	flag.StringVar(&o.data, "data", "../shared/data/disk", "folder with hdd_history_drives_train.csv.gz and hdd_history_segments_train.csv.gz")
	flag.StringVar(&o.python, "python", "/usr/bin/python3", "Python with xgboost and sklearn")
	flag.IntVar(&o.thirds, "thirds", 3, "how many thirds of the drives are judged (1 to 3)")
	peers := flag.String("peers", "xgboost,hgb", "whom to compare with; hgb takes longest")
	flag.BoolVar(&o.unseen, "unseen", true, "judge drive families that the model never saw, too")
	flag.BoolVar(&o.speed, "speed", true, "measure speed, too")
	flag.Parse()
	o.peers = strings.Split(*peers, ",")
	for _, s := range strings.Split(*days, ",") {
		day, err := time.Parse(time.DateOnly, s)
		if s != "" && err != nil {
			fmt.Fprintf(os.Stderr, "bench-pfa: -days %q: expected days as 2015-02-01\n", *days)
			os.Exit(2)
		}
		if s != "" {
			o.days = append(o.days, day)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-pfa:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	drives, err := readHistory(o.data)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vireo-bench-pfa-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, day := range o.days {
		var all judged
		for third := range o.thirds {
			part, err := compare(ctx, o, dir, drives, day, third)
			if err != nil {
				return fmt.Errorf("%s, third %d: %w", day.Format(time.DateOnly), third+1, err)
			}
			all.add(part)
		}
		all.print(os.Stdout, day, o.peers)
		if o.unseen && day.Equal(o.days[len(o.days)-1]) {
			if err := unseenFamilies(os.Stdout, drives, day, &all); err != nil {
				return err
			}
		}
	}
	if err := modern(ctx, os.Stdout, o); err != nil {
		return err
	}
	if o.speed {
		return speed(ctx, os.Stdout, o, dir, drives)
	}
	return nil
}

func readHistory(dir string) ([]pfa.Drive, error) {
	var drives []pfa.Drive
	read := func(name string, f func(name string, r io.Reader) error) error {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer file.Close()
		z, err := gzip.NewReader(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return f(name, z)
	}
	err := read("hdd_history_drives_train.csv.gz", func(name string, r io.Reader) (err error) {
		drives, err = pfa.ReadDrives(name, r, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return drives, read("hdd_history_segments_train.csv.gz", func(name string, r io.Reader) error {
		return pfa.ReadSegments(name, r, drives)
	})
}

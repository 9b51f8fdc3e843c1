package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name:        "backup",
		Usage:       "copy the database to a new file, while the manager runs or not",
		ArgsUsage:   "FILE",
		Description: "The copy is one moment of the store, checked before it gets its name. The CA and its keys (pki_dir) are not in it.",
		Flags:       []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			file, cfg, err := fileAndConfig(c)
			if err != nil {
				return err
			}
			facts, err := sqlite.Backup(c.Context, cfg.Database(), file)
			switch {
			case errors.Is(err, fs.ErrExist):
				return &daemon.Exit{Code: daemon.ExitRefused, Err: fmt.Errorf("%w: a backup never replaces a file", err)}
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s: %s\n", file, describe(facts))
			return err
		},
	}
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "put a backup in the database's place, as a new generation; the manager must not run",
		ArgsUsage: "FILE",
		Description: "What the agents were told since the backup is lost, so the manager begins in recovery: it grants, moves and releases\n" +
			"nothing before every enrolled host has reported, or was excused (vireo hosts excuse), and makes its claims agree with\n" +
			"what runs. What stood in the database's place is kept beside it.",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			file, cfg, err := fileAndConfig(c)
			if err != nil {
				return err
			}
			facts, kept, err := sqlite.Restore(c.Context, file, cfg.Database(), time.Now())
			switch {
			case errors.Is(err, store.ErrLocked):
				return &daemon.Exit{Code: daemon.ExitRefused, Err: fmt.Errorf("%w: stop the manager first", err)}
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrCorrupt):
				return daemon.Usage("%s", err)
			case err != nil:
				return err
			}
			if _, err = fmt.Fprintf(c.App.Writer, "%s: %s\n", cfg.Database(), describe(facts)); err != nil || kept == "" {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "kept what stood there: %s\n", kept)
			return err
		},
	}
}

func fileAndConfig(c *cli.Context) (string, configs.Manager, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", configs.Manager{}, daemon.Usage("give one file: vireo-manager %s FILE", c.Command.Name)
	}
	cfg, err := daemon.Config(c, configs.LoadManager)
	if err == nil && cfg.Store == configs.StoreEtcd {
		err = daemon.Usage("store = %q: hosts, claims and moves are in etcd, which etcdctl snapshot save copies and etcdctl snapshot restore brings back; "+
			"then run vireo store renew", cfg.Store)
	}
	return c.Args().First(), cfg, err
}

func describe(f sqlite.Facts) string {
	return fmt.Sprintf("generation %d, epoch %d, %d hosts, %d claims", f.Generation, f.Epoch, f.Hosts, f.Claims)
}

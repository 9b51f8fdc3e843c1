package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/stores"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
)

// openStore is how long a store may take to be had: a lease that a manager has
// left behind ends within it.
const openStore = 15 * time.Second

func (p *program) storeCommand() *cli.Command {
	return &cli.Command{
		Name: "store", Usage: "change the engine of the manager's store, on the manager's machine: migrate, renew",
		Subcommands: []*cli.Command{p.storeMigrateCommand(), p.storeRenewCommand()},
	}
}

func (p *program) storeMigrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "move all records from one store to another, and check that both hold the same",
		Description: "Stop every manager first; guests and agents go on. Both stores are those of the manager's configuration:\n" +
			"the database in state_dir, and the etcd of [etcd]. It happens all at once: until it has, the old store is the\n" +
			"one to use, from then on no manager runs on it any more. Interrupted, it is finished by running it again.\n" +
			"A new generation begins: nothing is granted or moved before every host has reported. Then set store in\n" +
			"manager.toml and start the managers. Readings stay where they are.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Required: true, Usage: "the store in use, `ENGINE` sqlite or etcd"},
			&cli.StringFlag{Name: "to", Required: true, Usage: "the one to use, `ENGINE` sqlite or etcd; empty, or left by an earlier migrate"},
			&cli.StringFlag{Name: "config", Value: configs.ManagerPath, Usage: "the manager's configuration `FILE`"},
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			return p.migrateStore(c.Context, c.String("from"), c.String("to"), c.String("config"))
		},
	}
}

func (p *program) storeRenewCommand() *cli.Command {
	return &cli.Command{
		Name:  "renew",
		Usage: "take the configured etcd as the store although it is another one than before, in a new generation",
		Description: "For an etcd that was restored from a snapshot or replaced. Stop every manager first. Nothing is granted or moved\n" +
			"afterwards before every host has reported. On the other managers remove etcd.json from state_dir.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: configs.ManagerPath, Usage: "the manager's configuration `FILE`"},
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			cfg, err := configs.LoadManager(c.String("config"))
			if err == nil && cfg.Store != configs.StoreEtcd {
				err = fmt.Errorf("%s: store = %q: expected %q", c.String("config"), cfg.Store, configs.StoreEtcd)
			}
			if err != nil {
				return exitError{apierr.ExitInput, err.Error()}
			}
			ctx, cancel := context.WithTimeout(c.Context, openStore)
			defer cancel()
			id, err := stores.Renew(ctx, cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.out, "generation %d, term %d; start the managers\n", id.Generation, id.Term)
			return err
		},
	}
}

func (p *program) migrateStore(ctx context.Context, from, to, config string) error {
	for flag, kind := range map[string]string{"from": from, "to": to} {
		if kind != configs.StoreSQLite && kind != configs.StoreEtcd {
			return usagef("--%s %s: expected %s or %s", flag, kind, configs.StoreSQLite, configs.StoreEtcd)
		}
	}
	if from == to {
		return usagef("--to %s: expected the other one", to)
	}
	cfg, err := configs.LoadManager(config)
	if err == nil {
		cfg.Store = configs.StoreEtcd // both are needed, whichever it uses now
		err = cfg.Validate()
	}
	if err != nil {
		return exitError{apierr.ExitInput, err.Error()}
	}
	octx, cancel := context.WithTimeout(ctx, openStore)
	defer cancel()
	source, err := stores.Open(octx, cfg, from)
	if err != nil {
		return fmt.Errorf("the old store: %w", err)
	}
	defer source.Close()
	target, err := stores.Open(octx, cfg, to)
	if err != nil {
		return fmt.Errorf("the new store: %w", err)
	}
	defer target.Close()
	whole, err := stores.Move(ctx, source, target, from+" to "+to, p.now().UTC())
	if err != nil {
		return err
	}
	id := target.Identity()
	_, err = fmt.Fprintf(p.out, "moved from %s to %s, and compared: %s\ngeneration %d; set store = %q in %s and start the managers\n",
		from, to, whole, id.Generation, to, config)
	return err
}

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

// version is set when the program is linked.
var version = "unknown"

const description = `Begin with a certificate authority, then run:

   vireo-manager init --name manager.example    make CA, certificates and the database's directory
   vireo-manager run                            what systemd starts
   vireo agents token --host h1                 let a host in (on this machine as root, or with operator.crt)

Operators use the command vireo; further ones get a certificate by "vireo-manager operator".`

func main() { daemon.Main(app()) }

func app() *cli.App {
	return &cli.App{
		Name:        "vireo-manager",
		Usage:       "keep KVM guests ahead of hardware failure: the control plane",
		Description: description,
		Version:     version,
		Commands:    []*cli.Command{initCommand(), runCommand(), operatorCommand(), renewCommand(), backupCommand(), restoreCommand(), configCommand()},
	}
}

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "the configuration `FILE`", Value: configs.ManagerPath}
}

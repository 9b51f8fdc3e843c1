package main

import (
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

// version is set when the program is linked.
var version = "unknown"

const description = `Let this host in with a token that the manager has made, then run:

   vireo agents token --host h1                                                 where the manager is
   vireo-agent enroll --manager https://manager.example:7443 --token TOKEN      here
   vireo-agent check                                                            is everything there?
   vireo-agent check --peer h2                                                  can guests go to h2?
   vireo-agent run                                                              what systemd starts
   vireo-agent hook install                                                     claims bind virsh as well`

func main() { daemon.Main(app()) }

func app() *cli.App {
	return &cli.App{
		Name:        "vireo-agent",
		Usage:       "keep KVM guests ahead of hardware failure: a hypervisor's agent",
		Description: description,
		Version:     version,
		Commands:    []*cli.Command{runCommand(), enrollCommand(), checkCommand(), hookCommand(), allowCommand(), configCommand()},
	}
}

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "the configuration `FILE`", Value: configs.AgentPath}
}

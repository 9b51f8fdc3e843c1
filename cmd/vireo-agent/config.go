package main

import (
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

func configCommand() *cli.Command {
	return daemon.ConfigCommand(configFlag(), configs.LoadAgent, configs.AgentTOML)
}

// Package agentv1 holds the versioned messages between vireo-agent and
// vireo-manager, generated from agent.proto.
package agentv1

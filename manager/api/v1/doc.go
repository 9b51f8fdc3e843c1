// Package managerv1 holds the messages that operators and programs exchange
// with vireo-manager, generated from manager.proto.
package managerv1

// Package pki is the manager's certificate authority: it makes the CA, the
// manager's certificate, certificates for agents (from their requests) and for
// operators, keeps them in files, and says who the bearer of a certificate is.
//
// Who somebody is stands in a URI of the certificate's subject alternative
// names, never in its common name:
//
//	vireo://agent/HOST
//	vireo://operator/ROLE/NAME
//
// The manager's own certificate carries DNS names and addresses, and no such
// URI: a manager is neither an agent nor an operator.
//
// What does not belong here: which tokens exist, which serials are revoked and
// which host has which serial (store, by way of the manager), and what a role
// may call (manager/serve). Time is an argument everywhere.
package pki

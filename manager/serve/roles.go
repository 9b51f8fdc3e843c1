package serve

import (
	agentv1connect "github.com/vireo-kvm/vireo/agent/wire/v1/agentv1connect"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// rule says who may call a procedure. The zero rule is nobody.
type rule struct {
	anyone bool     // also without a certificate
	agent  bool     // a host
	role   pki.Role // an operator with this role or a higher one
}

// rules has a line for every procedure; what is not listed is refused.
var rules = map[string]rule{
	agentv1connect.AgentServiceEnrollProcedure:  {anyone: true},
	agentv1connect.AgentServiceSessionProcedure: {agent: true},
	agentv1connect.AgentServiceRenewProcedure:   {agent: true},

	managerv1connect.ManagerServiceListHostsProcedure:      {role: pki.Viewer},
	managerv1connect.ManagerServiceGetHostProcedure:        {role: pki.Viewer},
	managerv1connect.ManagerServiceListDomainsProcedure:    {role: pki.Viewer},
	managerv1connect.ManagerServiceListClaimsProcedure:     {role: pki.Viewer},
	managerv1connect.ManagerServiceListRiskProcedure:       {role: pki.Viewer},
	managerv1connect.ManagerServiceListMigrationsProcedure: {role: pki.Viewer},
	managerv1connect.ManagerServiceGetMigrationProcedure:   {role: pki.Viewer},
	managerv1connect.ManagerServiceListDecisionsProcedure:  {role: pki.Viewer},
	managerv1connect.ManagerServiceExplainProcedure:        {role: pki.Viewer},
	managerv1connect.ManagerServiceWatchEventsProcedure:    {role: pki.Viewer},
	managerv1connect.ManagerServiceGetStatusProcedure:      {role: pki.Viewer},
	managerv1connect.ManagerServicePlanEvacuationProcedure: {role: pki.Viewer},
	managerv1connect.ManagerServiceVirshProcedure:          {role: pki.Viewer},

	managerv1connect.ManagerServiceEvacuateHostProcedure:    {role: pki.Operator},
	managerv1connect.ManagerServiceReturnHostProcedure:      {role: pki.Operator},
	managerv1connect.ManagerServiceAbortMigrationProcedure:  {role: pki.Operator},
	managerv1connect.ManagerServiceResolveDecisionProcedure: {role: pki.Operator},
	managerv1connect.ManagerServiceSetAutomationProcedure:   {role: pki.Operator},
	managerv1connect.ManagerServiceImportReadingsProcedure:  {role: pki.Operator},

	managerv1connect.ManagerServiceGrantClaimProcedure:      {role: pki.Operator},
	managerv1connect.ManagerServiceReleaseClaimProcedure:    {role: pki.Operator},
	managerv1connect.ManagerServiceMoveClaimProcedure:       {role: pki.Operator},
	managerv1connect.ManagerServiceResolveClaimProcedure:    {role: pki.Operator},
	managerv1connect.ManagerServiceDeclareHostDeadProcedure: {role: pki.Operator},
	managerv1connect.ManagerServiceExcuseHostProcedure:      {role: pki.Operator},
	managerv1connect.ManagerServiceSetHostProcedure:         {role: pki.Operator},
	managerv1connect.ManagerServiceListLeftoversProcedure:   {role: pki.Viewer},

	managerv1connect.ManagerServiceCreateTokenProcedure:    {role: pki.Admin},
	managerv1connect.ManagerServiceRemoveHostProcedure:     {role: pki.Admin},
	managerv1connect.ManagerServiceRevokeOperatorProcedure: {role: pki.Admin},
}

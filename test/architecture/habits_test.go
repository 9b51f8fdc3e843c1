package architecture

import (
	"fmt"
	"go/ast"
	"testing"
)

// What takes values and returns values starts nothing that could outlive the call.
var pure = []string{"migration", "manager/decide", "pfa/signal"}

// Files whose struct keeps a context with a reason.
var keepsContext = map[string]string{
	"agent/hands.go": "it is made by Run and ends with it, and each call that it starts has to end with Run too",
}

func TestHabits(t *testing.T) { holds(t, "habits.txtar", brokenHabits) }

// brokenHabits finds what makes code hard to follow from outside: registration in init, a context kept in a struct, and
// goroutines in what is pure.
func brokenHabits(_ *testing.T, tree *tree) []string {
	var broken []string
	for _, file := range tree.files {
		if file.generated || file.isTest() {
			continue
		}
		report := func(node ast.Node, what string) {
			broken = append(broken, fmt.Sprintf("%s:%d: %s", file.path, file.fset.Position(node.Pos()).Line, what))
		}
		ast.Inspect(file.ast, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					report(n, "init registers something: construct it where it is used")
				}
			case *ast.StructType:
				for _, field := range n.Fields.List {
					if isContext(field.Type) && keepsContext[file.path] == "" {
						report(field, "a context is kept in a struct: pass it")
					}
				}
			case *ast.GoStmt:
				if withinAny(file.dir(), pure) {
					report(n, "a goroutine in a package that is pure")
				}
			}
			return true
		})
	}
	return broken
}

func isContext(expr ast.Expr) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	name, ok := selector.X.(*ast.Ident)
	return ok && name.Name == "context" && selector.Sel.Name == "Context"
}

package lab

import (
	"strings"
	"testing"
)

func TestRulesOfTheSwitch(t *testing.T) {
	rules, shapes := linkRules([]linkFault{
		{From: "h1", To: "h2", Cut: true},
		{From: "h3", To: Storage, Cut: true},
		{From: Storage, To: "h3", Cut: true},
		{From: "h1", To: "h3", Rate: "200mbit"},
		{From: "h2", To: "h3", Rate: "1gbit"},
	})
	for _, want := range []string{
		`iifname "h1" oifname "h2" drop`,
		`iifname "h3" ip protocol tcp drop`,
		`oifname "h3" ip protocol tcp drop`,
		`iifname "h1" oifname "h3" meta priority set 1:5`,
		`iifname "h2" oifname "h3" meta priority set 1:6`,
	} {
		if strings.Count(rules, want) != 1 {
			t.Errorf("%q is not once in\n%s", want, rules)
		}
	}
	if strings.Contains(rules, `iifname "h2" oifname "h1"`) {
		t.Error("the way back was cut, too")
	}
	text := strings.Join(shapes, "\n")
	if strings.Count(text, "qdisc add dev h3 root") != 1 || !strings.Contains(text, "classid 1:5 htb rate 200mbit") || !strings.Contains(text, "classid 1:6 htb rate 1gbit") {
		t.Errorf("shapes:\n%s", text)
	}
}

package configs

import (
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// annotated lists the files that document the keys, each with an empty and a default configuration of its type.
func annotated() map[string]struct {
	text           []byte
	empty, initial config
} {
	manager, agent, cli := DefaultManager(), DefaultAgent(), DefaultCLI()
	return map[string]struct {
		text           []byte
		empty, initial config
	}{
		"manager.toml": {ManagerTOML, &Manager{}, &manager},
		"agent.toml":   {AgentTOML, &Agent{}, &agent},
		"cli.toml":     {CLITOML, &CLI{}, &cli},
	}
}

// Read over nothing, the annotated file gives exactly the defaults: it has every key, and no value of its own.
func TestAnnotatedFilesAreTheDefaults(t *testing.T) {
	for name, file := range annotated() {
		t.Run(name, func(t *testing.T) {
			if err := parse(name, file.text, file.empty); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(file.empty, file.initial) {
				t.Errorf("%s gives\n%+v\nbut the defaults are\n%+v", name, file.empty, file.initial)
			}
		})
	}
}

// A default that is its type's zero value would not be missed above, so the keys are compared as well.
func TestAnnotatedFilesHaveEveryKey(t *testing.T) {
	for name, file := range annotated() {
		t.Run(name, func(t *testing.T) {
			var table map[string]any
			if _, err := toml.Decode(string(file.text), &table); err != nil {
				t.Fatal(err)
			}
			want := keysOfType(reflect.TypeOf(file.initial).Elem(), "")
			if len(want) < 5 {
				t.Fatalf("only %d keys found in the type: %v", len(want), want)
			}
			for _, key := range want {
				if !hasKey(table, strings.Split(key, ".")) {
					t.Errorf("%s does not document %s", name, key)
				}
			}
		})
	}
}

func keysOfType(s reflect.Type, prefix string) []string {
	var keys []string
	for i := range s.NumField() {
		field := s.Field(i)
		key := prefix + field.Tag.Get("toml")
		if field.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOfType(field.Type, key+".")...)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

func hasKey(table map[string]any, path []string) bool {
	value, ok := table[path[0]]
	if len(path) == 1 || !ok {
		return ok
	}
	sub, ok := value.(map[string]any)
	return ok && hasKey(sub, path[1:])
}

func TestDefaultsAreValid(t *testing.T) {
	for _, err := range []error{DefaultManager().Validate(), DefaultAgent().Validate(), DefaultCLI().Validate()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// What a program writes with the library's encoder is read back the same: the lab writes its configurations so.
func TestWrittenConfigurationIsReadBack(t *testing.T) {
	for name, file := range annotated() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := toml.NewEncoder(&b).Encode(file.initial); err != nil {
				t.Fatal(err)
			}
			if err := parse(name, []byte(b.String()), file.empty); err != nil {
				t.Fatalf("%v in\n%s", err, b.String())
			}
			if !reflect.DeepEqual(file.empty, file.initial) {
				t.Errorf("read back %+v, want %+v", file.empty, file.initial)
			}
		})
	}
}

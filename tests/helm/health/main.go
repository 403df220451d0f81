// Says how tools that deploy see an object: kstatus, which Flux and helm use, and a health check of Argo CD in Lua.
//
//	health HEALTH.lua <object.json
//
// prints {"kstatus": …, "argocd": …, "message": …}. The Lua check sees what Argo CD lets it see: the object as obj and
// the libraries that Argo CD loads.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run(script string) error {
	var object map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
		return err
	}
	seen, err := status.Compute(&unstructured.Unstructured{Object: whole(object).(map[string]any)})
	if err != nil {
		return err
	}
	health, err := check(script, object)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"kstatus": seen.Status.String(),
		"argocd":  lua.LVAsString(health.RawGetString("status")),
		"message": lua.LVAsString(health.RawGetString("message")),
	})
}

func check(script string, object map[string]any) (*lua.LTable, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoFile(script); err != nil {
		return nil, err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("%s returns no table", script)
	}
	return health, nil
}

// A JSON value in Lua.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case string:
		return lua.LString(from)
	case float64:
		return lua.LNumber(from)
	case bool:
		return lua.LBool(from)
	case []any:
		table := state.NewTable()
		for _, each := range from {
			table.Append(value(state, each))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, each := range from {
			table.RawSetString(key, value(state, each))
		}
		return table
	}
	return lua.LNil
}

// A JSON value with whole numbers, as kstatus wants them.
func whole(from any) any {
	switch from := from.(type) {
	case float64:
		if from == float64(int64(from)) {
			return int64(from)
		}
	case []any:
		to := make([]any, len(from))
		for i, each := range from {
			to[i] = whole(each)
		}
		return to
	case map[string]any:
		to := make(map[string]any, len(from))
		for key, each := range from {
			to[key] = whole(each)
		}
		return to
	}
	return from
}

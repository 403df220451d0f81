// Lints a Dockerfile as docker buildx build --check does, and converts it into what BuildKit runs, for each platform.
// It fetches nothing: all that it takes of a base image is that there is one.
//
//	lint DOCKERFILE PLATFORM…
//
// A file .dockerignore beside it is read as well; the last line says what is sent of the folder.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: lint DOCKERFILE PLATFORM…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
}

func run(file string, wanted []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range wanted {
		platform, err := platforms.Parse(name)
		if err != nil {
			return err
		}
		if err := convert(file, text, platform); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	sent, err := sent(filepath.Dir(file))
	if err != nil {
		return err
	}
	fmt.Printf("%s is fine for %s; sent: %s\n", file, strings.Join(wanted, ", "), strings.Join(sent, " "))
	return nil
}

func convert(file string, text []byte, platform ocispecs.Platform) error {
	var found []string
	options := dockerfile2llb.ConvertOpt{
		TargetPlatform: &platform,
		MetaResolver:   images{},
		Warn: func(rule, description, _, message string, location []parser.Range) {
			line := 0
			if len(location) > 0 {
				line = location[0].Start.Line
			}
			found = append(found, fmt.Sprintf("%s:%d: %s: %s (%s)", file, line, rule, message, description))
		},
	}
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), text, options)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("\n%s", strings.Join(found, "\n"))
	}
	if image := result.Image.Platform; image.Architecture != platform.Architecture {
		return fmt.Errorf("the image says that it is for %s", image.Architecture)
	}
	// What a release's bill of materials is made of: the program itself tells nothing.
	if _, scanned := result.SBOM.Extras["context"]; !scanned {
		return fmt.Errorf("a bill of materials would leave out what is sent of the folder")
	}
	_, err = result.State.Marshal(context.Background())
	return err
}

// What .dockerignore lets through, of the folder's own entries.
func sent(folder string) ([]string, error) {
	patterns := []string{}
	if file, err := os.Open(filepath.Join(folder, ".dockerignore")); err == nil {
		defer file.Close()
		if patterns, err = ignorefile.ReadAll(file); err != nil {
			return nil, err
		}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		ignored, err := matcher.MatchesOrParentMatches(entry.Name())
		if err != nil {
			return nil, err
		}
		if !ignored {
			names = append(names, entry.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Base images: for every platform, and with nothing to say. What is misspelled, as a stage's name, is taken for an image
// without a version.
type images struct{}

func (images) ResolveImageConfig(_ context.Context, name string, options sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if strings.HasSuffix(name, ":latest") {
		return "", "", nil, fmt.Errorf("%s is no stage, and no image with a version", name)
	}
	platform := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	if options.ImageOpt != nil && options.ImageOpt.Platform != nil {
		platform = *options.ImageOpt.Platform
	}
	config := fmt.Sprintf(`{"os":%q,"architecture":%q,"config":{}}`, platform.OS, platform.Architecture)
	return name, digest.FromString(config), []byte(config), nil
}

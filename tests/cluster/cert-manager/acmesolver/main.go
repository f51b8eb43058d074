// Command acmesolver answers one HTTP-01 challenge: what cert-manager starts as a pod for each.
package main

import (
	"flag"
	"log"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

func main() {
	var challenge solver.HTTP01Solver
	flag.IntVar(&challenge.ListenPort, "listen-port", 8089, "where to listen")
	flag.StringVar(&challenge.Domain, "domain", "", "the name that is asked for")
	flag.StringVar(&challenge.Token, "token", "", "the challenge's token")
	flag.StringVar(&challenge.Key, "key", "", "the answer")
	flag.Parse()
	log.Fatal(challenge.Listen(logf.Log))
}

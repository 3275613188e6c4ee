/** The load generator's process. */
import { serveTasks } from './child-task.ts'
import { Corpus } from './corpus.ts'
import { runLoad, type LoadSpec } from './load-run.ts'

const corpus = new Corpus()
serveTasks((spec: LoadSpec) => runLoad(corpus, spec))

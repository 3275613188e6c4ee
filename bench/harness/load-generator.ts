/** The load generator's process. */
import { serveTasks } from './child-task.ts'
import { Corpus } from './corpus.ts'
import { runLoad, type LoadResult, type LoadSpec } from './load-run.ts'

const corpus = new Corpus()
serveTasks<LoadSpec, LoadResult>((spec) => runLoad(corpus, spec))

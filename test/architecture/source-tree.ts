import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { parseSync, Visitor, type Program } from 'oxc-parser'
import { ResolverFactory } from 'oxc-resolver'

/** A module of a source tree, with everything it imports, by `import`, `export ... from` or `import()`, types included. */
export interface SourceModule {
  /** Relative to the root of the tree, with `/`. */
  path: string
  lines: number
  imports: Import[]
  readsEnvironment: boolean
  program: Program
}

interface Import {
  /** As written. */
  specifier: string
  /** The file it resolves to, relative to the root; undefined for what lies outside. */
  target: string | undefined
  /** The package it comes from: `@duckdb/node-api`, `node:fs`. Undefined with `target` for a path to nowhere in the tree. */
  package: string | undefined
}

const resolver = new ResolverFactory({
  extensions: ['.ts', '.js', '.json'],
  conditionNames: ['node', 'import', 'default'],
  builtinModules: true,
})

/** Reads and parses every TypeScript module below `root`, tests left out: the rules are about what ships. */
export function readSourceTree(root: string): SourceModule[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
    .toSorted()
    .map((path) => readModule(root, path))
}

function readModule(root: string, path: string): SourceModule {
  const text = readFileSync(join(root, path), 'utf8')
  const { program, errors } = parseSync(path, text)
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`)
  const specifiers: string[] = []
  let readsEnvironment = false
  new Visitor({
    ImportDeclaration: (node) => {
      specifiers.push(node.source.value)
      const importsEnv = node.specifiers.some(
        (one) => one.type === 'ImportSpecifier' && one.imported.type === 'Identifier' && one.imported.name === 'env',
      )
      if (/^(node:)?process$/.test(node.source.value) && importsEnv) readsEnvironment = true
    },
    ExportNamedDeclaration: (node) => {
      if (node.source !== null) specifiers.push(node.source.value)
    },
    ExportAllDeclaration: (node) => {
      specifiers.push(node.source.value)
    },
    ImportExpression: (node) => {
      // A computed specifier loads what a user named, such as a configuration file: nothing in this tree.
      if (node.source.type === 'Literal' && typeof node.source.value === 'string') specifiers.push(node.source.value)
    },
    TSImportType: (node) => {
      if (node.source.type === 'Literal') specifiers.push(node.source.value)
    },
    MemberExpression: (node) => {
      const property =
        node.property.type === 'Literal' ? node.property.value : 'name' in node.property && node.property.name
      if (node.object.type === 'Identifier' && node.object.name === 'process' && property === 'env')
        readsEnvironment = true
    },
    VariableDeclarator: (node) => {
      if (node.init?.type !== 'Identifier' || node.init.name !== 'process' || node.id.type !== 'ObjectPattern') return
      const names = node.id.properties.map((one) => (one.type === 'Property' && 'name' in one.key ? one.key.name : ''))
      if (names.includes('env')) readsEnvironment = true
    },
  }).visit(program)
  const imports = specifiers.map((specifier) => resolveImport(root, path, specifier))
  return { path, lines: text.split('\n').length - 1, imports, readsEnvironment, program }
}

function resolveImport(root: string, from: string, specifier: string): Import {
  const resolved = resolver.sync(dirname(join(root, from)), specifier)
  if (resolved.builtin !== undefined) return { specifier, target: undefined, package: resolved.builtin.resolved }
  const target = resolved.path === undefined ? undefined : relative(root, resolved.path).replaceAll('\\', '/')
  const inside = target !== undefined && !target.startsWith('..') && !target.includes('node_modules/')
  if (inside) return { specifier, target, package: undefined }
  if (specifier.startsWith('.')) return { specifier, target: undefined, package: undefined }
  const parts = specifier.split('/')
  return { specifier, target: undefined, package: specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0] }
}

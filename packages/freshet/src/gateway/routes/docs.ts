import type { FastifyInstance } from 'fastify'
import type { GatewayContext } from '../context.ts'
export function addDocsRoutes(_app: FastifyInstance, _context: GatewayContext): void {}
